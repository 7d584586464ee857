"""An adapter merged for a block: the bare layers inside, and every bit back afterwards, whatever ended the block."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.runtime.models import NAMES, Mlp, Quantised, hidden, llama, move, refused, small_config, snapshot
from tests.runtime.repacking import quantised
from variants import (
    IA3Config,
    LoRAConfig,
    Targets,
    attach,
    attachments,
    detach,
    load,
    merge,
    merged,
    save,
    unmerge,
)

X = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
UP, DOWN = Targets(include=("up",)), Targets(include=("down",))


def adapted(**options: Any) -> nn.Module:
    """An Mlp in eval mode with a moved LoRA on ``up``."""
    model = Mlp().eval()
    attach(model, LoRAConfig(r=2, targets=UP, **options))
    move(model)
    return model


@pytest.mark.parametrize("name", NAMES)
def test_the_same_outputs_inside_and_the_same_bits_after(name: str) -> None:
    """Decoding inside would give another model's text, or leave another model behind."""
    model = llama().double().eval()
    attach(model, small_config(name, dtype="float64"))
    move(model)
    want, before = hidden(model).detach(), snapshot(model)
    with merged(model) as given:
        assert given is model
        got = hidden(model)
    assert torch.allclose(got, want, atol=1e-9 * float(want.abs().max()), rtol=0)
    assert snapshot(model) == before
    assert torch.equal(hidden(model), want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_bits_come_back_in_every_dtype(dtype: torch.dtype) -> None:
    """Arithmetic would bring the weight back to a rounding, and many blocks would let it drift."""
    model = Mlp().eval().to(dtype)
    attach(model, LoRAConfig(r=2, targets=UP))
    move(model)
    before = snapshot(model)
    for _ in range(3):
        with merged(model):
            model(X.to(dtype))
    assert snapshot(model) == before


def test_no_layer_has_a_hook_inside() -> None:
    """A hook on a layer is what the block is there to avoid: its price is paid at each token."""
    model = adapted()
    with merged(model):
        hooks = [m for m in model.modules() if m is not model and (m._forward_hooks or m._forward_pre_hooks)]
        assert not hooks
        assert torch.equal(model.up(X), nn.functional.linear(X, model.up.weight, model.up.bias))


class Stop(Exception):
    """What a user's code may raise."""


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_exception_inside_brings_the_bits_back(error: type[BaseException]) -> None:
    """A failed generation would leave the adapter in the weights, and the next call would train beside it."""
    model = adapted()
    before = snapshot(model)
    seen = []

    def fails() -> None:
        seen.append(bool(attachments(model)["lora"].merged))
        raise error

    with pytest.raises(error), merged(model):
        fails()
    assert seen == [True]
    assert snapshot(model) == before
    assert not attachments(model)["lora"].merged


def test_a_failure_half_way_through_merging_brings_the_bits_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some layers would stay merged, and the others not."""
    model = Mlp().eval()
    attach(model, LoRAConfig(r=2))
    move(model)
    before, want, calls = snapshot(model), model(X), []

    def write(layer: nn.Module, W: Tensor) -> None:
        calls.append(layer)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(layer, W)

    from variants.runtime import merge as module

    real = module._write
    monkeypatch.setattr(module, "_write", write)
    with pytest.raises(KeyboardInterrupt), merged(model):
        raise AssertionError
    assert len(calls) > 2, "nothing was written back"
    assert snapshot(model) == before
    assert torch.equal(model(X), want)


def test_a_block_in_a_block_is_refused_and_ends_nothing() -> None:
    """The inner block's end would unmerge what the outer one still decodes with."""
    model = adapted()
    before = snapshot(model)
    with merged(model):
        inside = model(X)
        with refused(model, "merged already"), merged(model):
            raise AssertionError
        assert torch.equal(model(X), inside)
        assert attachments(model)["lora"].merged
    assert snapshot(model) == before


def test_what_was_merged_before_stays_merged() -> None:
    """The block would end a merge that it has not begun."""
    model = adapted()
    merge(model)
    with refused(model, "merged already"), merged(model):
        raise AssertionError
    assert attachments(model)["lora"].merged
    unmerge(model)


@pytest.mark.parametrize("end", [unmerge, detach])
def test_ended_inside_by_hand(end: Any) -> None:
    """The end of the block would fail, or put old weights over new ones."""
    model = adapted()
    before = snapshot(model)
    with merged(model):
        end(model)
    if end is detach:
        assert not attachments(model)
        attach(model, LoRAConfig(r=2, targets=UP))
    else:
        assert snapshot(model) == before


def test_two_adapters() -> None:
    """One block would merge both, or disturb the other's layers."""
    model, x = Mlp().double().eval(), X.double()
    attach(model, LoRAConfig(r=2, targets=UP, dtype="float64"), name="one")
    attach(model, IA3Config(targets=DOWN, dtype="float64"), name="two")
    move(model)
    want, before, W = model(x).detach(), snapshot(model), model.down.weight.clone()
    with refused(model, "the model has 2 adapters: 'one', 'two'"), merged(model):
        raise AssertionError
    with merged(model, "one"):
        assert torch.equal(model.down.weight, W)
        with merged(model, "two"):
            assert not torch.equal(model.down.weight, W)
            assert torch.allclose(model(x), want, atol=1e-9 * float(want.abs().max()), rtol=0)
        assert torch.equal(model.down.weight, W)
        assert attachments(model)["one"].merged
    assert snapshot(model) == before


def test_no_adapter_or_another_name_is_refused() -> None:
    """The block would seem to have merged something."""
    model = Mlp().eval()
    with refused(model, "this model has no adapter"), merged(model):
        raise AssertionError
    attach(model, LoRAConfig(r=2, targets=UP))
    with refused(model, "'other'.*lora"), merged(model, "other"):
        raise AssertionError


def test_training_mode_is_refused_at_the_start() -> None:
    """Whoever decodes in training mode decodes with dropout; whoever trains inside trains nothing."""
    model = adapted().train()
    with refused(model, "training mode.*model.eval"), merged(model):
        raise AssertionError


def test_training_mode_is_refused_inside() -> None:
    """A loop that trains and decodes would go on training beside merged weights."""
    model = adapted()
    before = snapshot(model.train())
    model.eval()
    with pytest.raises(ValueError, match=r"training mode.*train outside of the block"), merged(model):
        _train(model)
    assert snapshot(model) == before
    model(X).sum().backward()  # at work again


def _train(model: nn.Module) -> None:
    model(X)
    model.train()
    model(X)


def test_no_gradient_is_recorded_inside() -> None:
    """A loss from inside would have gradients of everything but the adapter."""
    model = adapted()
    with merged(model):
        y = model(X.clone().requires_grad_())
    assert not y.requires_grad
    assert torch.is_grad_enabled()


def test_a_step_inside_is_told_at_the_end() -> None:
    """An optimiser's step inside would change the adapter, and every output inside would be of the old one."""
    model = adapted()
    optimiser = torch.optim.SGD(attachments(model)["lora"].parameters(), lr=0.1)
    model(X).sum().backward()
    W = model.up.weight.clone()
    with pytest.raises(ValueError, match=r"up\.[AB].*written inside.*Train outside"), merged(model):
        optimiser.step()
    assert torch.equal(model.up.weight, W)
    assert not attachments(model)["lora"].merged


def test_generation_with_a_cache() -> None:
    """Token by token, with keys and values of earlier steps kept, the merged model would say something else."""
    model = llama().double().eval()
    attach(model, LoRAConfig(r=2, dtype="float64"))
    move(model)
    prompt, options = torch.tensor([[1, 2, 3]]), {"max_new_tokens": 8, "do_sample": False, "use_cache": True}
    want, before = model.generate(prompt, **options), snapshot(model)
    with merged(model):
        got = model.generate(prompt, **options)
    assert torch.equal(got, want)
    assert got.shape[1] > prompt.shape[1]
    assert snapshot(model) == before


def test_in_inference_mode() -> None:
    """The usual way to decode; memory made in this mode cannot be trained, and must not end up in the model."""
    model = adapted()
    want, before = model(X).detach(), snapshot(model)
    with torch.inference_mode(), merged(model):
        assert torch.allclose(model(X), want, atol=1e-5)
    assert snapshot(model) == before
    model(X).sum().backward()
    assert all(p.grad is not None for p in attachments(model)["lora"].parameters())


def test_a_method_that_keeps_values_and_one_that_splits_the_weight() -> None:
    """DoRA's kept norm, or PiSSA's residual, would be those of the merged weight after the block."""
    for name in ("dora", "pissa"):
        model = Mlp().eval()
        attach(model, small_config(name, UP))
        move(model)
        with torch.inference_mode():
            want = model(X)
            with merged(model):
                inside = model(X)
            assert torch.equal(model(X), want)
        assert torch.allclose(inside, want, atol=1e-4 * float(want.abs().max()))


def test_saving_copying_and_pickling_inside(tmp_path: Path) -> None:
    """A checkpoint written in the middle would hold something else, or could not be written."""
    base = Mlp().eval()
    model = copy.deepcopy(base)
    attach(model, LoRAConfig(r=2, targets=UP))
    move(model)
    want = model(X)
    with merged(model):
        inside = model(X)
        save(model, tmp_path / "adapter")
        copied = copy.deepcopy(model)
        back = pickle.loads(pickle.dumps(model))
    load(base, tmp_path / "adapter")
    assert torch.equal(base(X), want)
    for each in (copied, back):
        assert torch.equal(each(X), inside)
        unmerge(each)
        assert torch.equal(each(X), want)
        each.train()(X).sum().backward()  # the copy's guard has nothing to say any more


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_codes_are_refused_unless_asked_for(kind: str) -> None:
    """Outputs inside would be off by a tenth of the weight, and nobody would have been told."""
    torch.manual_seed(5)
    model = nn.Sequential(quantised(128, 64, kind, nested=False)).eval()
    attach(model, LoRAConfig(r=2, targets=Targets(include=("0",))))
    move(model)
    before = snapshot(model)
    with refused(model, "at 0: got a quantised .*requantise=True"), merged(model):
        raise AssertionError
    with merged(model, requantise=True):
        assert attachments(model)["lora"].rounding["0"] > 0
    assert snapshot(model) == before


def test_what_merge_refuses_is_refused() -> None:
    """A weight that cannot take the adapter would be written over."""
    model = nn.Sequential(Quantised(6, 10)).eval()
    attach(model, LoRAConfig(r=2, targets=Targets(include=("0",))))
    with refused(model, "int8.*before it is quantised"), merged(model):
        raise AssertionError
    compiled: Any = torch.compile(adapted())
    with pytest.raises(ValueError, match="wrapped in OptimizedModule"), merged(compiled):
        raise AssertionError


def test_as_a_decorator() -> None:
    """Each call merges anew, with the adapter as it is by then."""
    model = adapted()

    @merged(model)
    def decode() -> Tensor:
        y: Tensor = model(X)
        return y

    first = decode()
    move(model)
    assert torch.allclose(decode(), model(X), atol=1e-5)
    assert not torch.allclose(decode(), first, atol=1e-3)
