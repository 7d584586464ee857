"""What is done to a whole model around an adapter, and would change what it computes without a word."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.runtime.models import IDS, NAMES, Mlp, llama, move, refused, small_config
from tests.runtime.test_stacks import adapted, mixtral
from variants import AntiPaSTOConfig, LoRAConfig, Targets, attach, detach, load, merge, merge_and_detach, save, unmerge

READERS = Targets(include=("q_proj", "down_proj"))


@pytest.fixture(autouse=True)
def nothing_compiled() -> None:
    """Each test starts without compiled code."""
    torch.compiler.reset()


def logits(model: Any) -> Tensor:
    """On two fixed sentences."""
    with torch.no_grad():
        found: Tensor = model(input_ids=IDS).logits
    return found


def apart(got: Tensor, want: Tensor) -> float:
    """Relative to the largest number."""
    return float((got - want).abs().max() / want.abs().max())


@pytest.mark.parametrize("name", ["lora", "ia3", "hra", "pissa"])
def test_compiled_code_sees_merge_and_unmerge(name: str) -> None:
    """A model compiled once would compute the base after merge and unmerge: torch does not look for new hooks."""
    model = llama().eval()
    attach(model, small_config(name, READERS))
    move(model)
    want = logits(model)
    compiled = torch.compile(model, backend="eager")
    assert apart(logits(compiled), want) < 1e-5
    merge(model)
    assert apart(logits(compiled), want) < 1e-4
    unmerge(model)
    assert apart(logits(compiled), want) < 1e-5


def test_compiled_while_merged() -> None:
    """Likewise, where the first call is while it is merged."""
    model = llama().eval()
    attach(model, small_config("lora", READERS))
    move(model)
    want = logits(model)
    merge(model)
    compiled = torch.compile(model, backend="eager")
    assert apart(logits(compiled), want) < 1e-4
    unmerge(model)
    assert torch.equal(logits(compiled), want)


def test_compiled_experts() -> None:
    """Likewise, for weights that are stacked in one parameter."""
    model = mixtral()
    adapted(model)
    want = logits(model)
    compiled = torch.compile(model, backend="eager")
    assert torch.equal(logits(compiled), want)
    merge(model)
    assert apart(logits(compiled), want) < 1e-12
    unmerge(model)
    assert torch.equal(logits(compiled), want)


def test_compiled_code_sees_steering() -> None:
    """The coefficient of the first call would stay for good."""
    model = llama().eval()
    base = logits(model)
    attachment = attach(model, AntiPaSTOConfig(r=4, targets=READERS))
    move(model)
    compiled = torch.compile(model, backend="eager")
    logits(compiled)
    attachment.steer(0.0)
    assert apart(logits(compiled), base) < 1e-5


def test_compiled_code_sees_an_adapter_that_comes_later() -> None:
    """A model that was compiled and called before attach, or between two adapters, would go on as the base."""
    model = llama().eval()
    base = logits(model)
    compiled = torch.compile(model, backend="eager")
    assert torch.equal(logits(compiled), base)
    for _ in range(2):
        attach(model, LoRAConfig(r=2, targets=READERS))
        move(model)
        want = logits(model)
        assert apart(want, base) > 1e-3
        assert torch.equal(logits(compiled), want)
        detach(model)
        assert torch.equal(logits(compiled), base)


def test_compiled_modules_of_torch_s_own() -> None:
    """Likewise, for a Sequential, which torch compiles in another way."""
    model = torch.nn.Sequential(torch.nn.Linear(6, 10), torch.nn.ReLU(), torch.nn.Linear(10, 6)).eval()
    x = torch.randn(3, 6)
    compiled = torch.compile(model, backend="eager")
    compiled(x)
    attach(model, LoRAConfig(r=2))
    move(model)
    want = model(x)
    assert torch.equal(compiled(x), want)
    merge(model)
    assert apart(compiled(x), want) < 1e-5
    unmerge(model)
    assert torch.equal(compiled(x), want)


def test_other_compiled_code_is_left_alone() -> None:
    """Every attach in a program would make all of its compiled models compile again."""
    from torch._dynamo.testing import CompileCounter

    counter = CompileCounter()
    other = torch.compile(Mlp(), backend=counter)
    x = torch.ones(1, 6)
    other(x)
    attach(llama(), LoRAConfig(r=2))
    other(x)
    assert counter.frame_count == 1


def test_a_layer_that_was_replaced_is_not_saved(tmp_path: Path) -> None:
    """``resize_token_embeddings`` puts another head in the place of the one with the adapter: what it learned would be
    written, and could never be loaded.
    """
    model: Any = llama()
    attach(model, LoRAConfig(r=2, targets=Targets(include=("lm_head", "q_proj"))))
    model.resize_token_embeddings(40, mean_resizing=False)
    with refused(model, "a model without the adapter at lm_head: another layer has taken its place"):
        save(model, tmp_path / "adapter")
    with refused(model, "a model without the adapter at lm_head"):
        merge(model)
    assert not (tmp_path / "adapter").exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_trained_head_stays_when_the_adapter_is_merged(name: str, tmp_path: Path) -> None:
    """A head from ``modules_to_save`` would fall back to what it was, or be lost from a file saved while merged."""
    model: Any = llama().eval()
    base = copy.deepcopy(model)
    attach(model, small_config(name, READERS), modules_to_save=["lm_head"])
    move(model)
    with torch.no_grad():
        model.lm_head.weight.add_(0.1)
    want = logits(model)
    merge(model)
    assert apart(logits(model), want) < 1e-4
    save(model, tmp_path / "adapter")
    load(base, tmp_path / "adapter")
    assert torch.equal(logits(base), want)
    merge_and_detach(model)
    assert apart(logits(model), want) < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_a_base_in_half_precision(name: str, tmp_path: Path) -> None:
    """An adapter in float32 beside a base in bfloat16 would be rounded when it is saved, trained or merged."""
    model: Any = llama().bfloat16().eval()
    base = copy.deepcopy(model)
    attachment = attach(model, small_config(name, READERS))
    with torch.no_grad():
        for parameter in attachment.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    want = logits(model)
    model.train()(input_ids=IDS, labels=IDS).loss.backward()
    assert all(p.grad is not None and p.grad.dtype is torch.float32 for p in attachment.parameters())
    model.eval()
    save(model, tmp_path / "adapter")
    load(base, tmp_path / "adapter")
    assert torch.equal(logits(base), want)
    merge(model)
    assert apart(logits(model), want) < 0.05
    unmerge(model)
    assert torch.equal(logits(model), want)


@pytest.mark.parametrize("name", NAMES)
def test_generated_tokens(name: str) -> None:
    """A cache would hold keys of the adapted model after the adapter is part of the weights, or the other way round."""
    model: Any = llama().eval()
    attach(model, small_config(name, READERS))
    move(model)

    def tokens(**options: Any) -> list[int]:
        made = model.generate(IDS[:1], max_new_tokens=5, do_sample=False, pad_token_id=0, eos_token_id=None, **options)
        found: list[int] = made[0].tolist()
        return found

    want = tokens(use_cache=False)
    assert tokens() == want
    assert tokens(cache_implementation="static") == want
    merge(model)
    assert tokens() == want
    unmerge(model)
    assert tokens() == want
