"""Steps of training on whole models: both sides on the same layers, with as many numbers, from the same weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from conformance.cost import measure, timing
from conformance.cost.subjects import Contender, contenders
from conformance.cost.whole import sides
from conformance.cost.whole.shapes import HALF, SHAPES, TARGETS, TINY, WAYS, Way
from conformance.cost.whole.step import Step, stepped
from subjects.own.roster import ENTRIES
from tests.harness import toys

SMALL = replace(TINY, vocabulary=64, sequences=2, length=8)
CONTENDERS = {contender.name: contender for contender in contenders(ENTRIES)}
LAYERS = {f"model.layers.{block}.{target}" for block in range(2) for target in TARGETS}


def targets(model: nn.Module) -> set[str]:
    """Blocks and names of the layers that something trains in."""
    found = set()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parts = name.split(".")
            at = parts.index("layers")
            found.add(f"model.layers.{parts[at + 1]}.{next(part for part in parts if part in TARGETS)}")
    return found


@pytest.mark.parametrize("name", CONTENDERS)
def test_every_linear_layer_of_every_block_trains(name: str) -> None:
    """One side would have fewer adapters than the other, and be the faster for it."""
    contender = CONTENDERS[name]
    ours, theirs = sides.variant(contender, SMALL, Way()), sides.peft(contender, SMALL, Way())
    assert ours is not None
    assert targets(ours) == LAYERS
    if theirs is None:
        assert name.startswith("antipasto")
        return
    assert targets(theirs) == LAYERS
    count, other = (sum(p.numel() for p in m.parameters() if p.requires_grad) for m in (ours, theirs))
    assert count == other, "a comparison of two sizes"
    logits = ours(SMALL.ids("cpu")).logits, theirs(SMALL.ids("cpu")).logits
    assert logits[0].shape == logits[1].shape


@pytest.mark.parametrize("name", ["lora", "dora", "antipasto_rot"])
def test_a_step_trains_the_adapter_alone(name: str) -> None:
    """What is timed would be no training, or training of the base."""
    model = sides.variant(CONTENDERS[name], SMALL, Way())
    assert model is not None
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    Step(model, SMALL.ids("cpu"))()
    changed = {key for key, p in model.named_parameters() if not torch.equal(p, before[key])}
    assert changed == {key for key, p in model.named_parameters() if p.requires_grad}
    assert all(p.grad is None for p in model.parameters()), "gradients would add up"


def test_the_frozen_model_has_a_backward_to_its_embeddings() -> None:
    """The baseline would have no backward, and each variant seem to cost twice the model."""
    step = Step(SMALL.model("float32", "cpu"), SMALL.ids("cpu"))
    loss = step.forward()
    loss.backward()  # type: ignore[no-untyped-call]
    gradient = step.given["inputs_embeds"].grad
    assert gradient is not None
    assert bool(gradient.abs().sum() > 0)
    assert all(p.grad is None for p in step.model.parameters())
    trained = sides.variant(CONTENDERS["ia3"], SMALL, Way())
    assert trained is not None
    at_start = sides.moved(SMALL.model("float32", "cpu"))
    assert torch.equal(Step(at_start, SMALL.ids("cpu")).forward(), loss), "the frozen model was moved"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rounds are enough to see that all is there."""
    monkeypatch.setattr(timing, "SAMPLE", 1e-6)
    monkeypatch.setattr(timing, "ROUNDS", 3)


def test_a_row_from_end_to_end(short: None) -> None:
    """A side would be missing, or a figure be zero that cannot be."""
    told: list[str] = []
    row = stepped(CONTENDERS["delora"], SMALL, Way(), told.append)
    assert row is not None
    assert row.peft is not None
    assert row.to_peft is not None
    assert row.bare.trainable == 0
    assert row.ours.trainable == row.peft.trainable > 0
    for side in (row.bare, row.ours, row.peft):
        assert side.seconds.low > 0
        assert side.peak > side.saved > 0
    assert row.ours.saved > row.bare.saved, "the adapter saves something for its gradient"
    assert row.peft.saved > row.ours.saved, "peft keeps the scaled weight of each layer"
    assert row.bare.over.median == 1
    assert "delora on the tiny model (cpu, float32)" in told[-1]


def test_a_half_precision_base(short: None) -> None:
    """On a GPU, where this is measured, the run would end in an error after minutes."""
    row = stepped(CONTENDERS["lora"], SMALL, Way("cpu", "bfloat16"), lambda _: None)
    assert row is not None
    assert row.way == "cpu, bfloat16"
    model = sides.variant(CONTENDERS["lora"], SMALL, Way("cpu", "bfloat16"))
    theirs = sides.peft(CONTENDERS["lora"], SMALL, Way("cpu", "bfloat16"))
    assert model is not None
    assert theirs is not None
    for each in (model, theirs):
        dtypes = {p.requires_grad: p.dtype for p in each.parameters()}
        assert dtypes == {False: torch.bfloat16, True: torch.float32}


def test_a_compiled_step_is_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compiled on a GPU would be something else than what is timed beside it."""
    calls: list[Any] = []

    def compile(function: Any) -> Any:
        calls.append(function)
        return function

    monkeypatch.setattr(torch, "compile", compile)
    step = Step(SMALL.model("float32", "cpu"), SMALL.ids("cpu"), compiled=True)
    assert torch.equal(step.forward(), step.loss(**step.given))
    assert calls == [step.loss]


def test_where_there_is_a_gpu_it_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The columns of a GPU would be left out on the machine that has one."""
    asked: list[tuple[str, str]] = []

    def row(contender: Contender, shape: Any, way: Way, say: Any) -> None:
        asked.append((shape.name, way.words))

    monkeypatch.setattr(measure, "devices", lambda: ("cpu", "cuda"))
    monkeypatch.setattr(measure, "stepped", row)
    measure.measure_models([CONTENDERS["lora"]], SHAPES, lambda _: None)
    ways = ["cpu, float32", "cuda, float32", "cuda, bfloat16", "cuda, bfloat16, compiled"]
    assert asked == [(shape.name, way) for shape in SHAPES for way in ways]
    assert set(WAYS) == {"cpu", "cuda"}


def test_an_entry_without_whole_models_has_no_row() -> None:
    """Somebody's own layer would end the measurement of all."""
    assert toys.SOUND.put is None
    assert stepped(Contender("sound", toys.SOUND), SMALL, Way(), lambda _: None) is None


def test_the_large_shape_is_cut_evenly() -> None:
    """The head would hide the blocks, or the blocks the head: both are cut to a twelfth."""
    blocks, vocabulary = 24, 151_936  # of Qwen2.5-0.5B
    assert HALF.vocabulary / vocabulary == pytest.approx(HALF.blocks / blocks, rel=1e-2)
