"""Any method on any layer: it works and keeps its promises, or says why not and changes nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.fuzz.worlds import FEW, ORDINARY, Chain, configs, models, state, works_or_refuses
from tests.runtime.models import ROUNDING, START_OFF, move
from variants import DeLoRAConfig, Targets, attach, attachments, detach, load, merge, save, unmerge
from variants.runtime.config import AdapterConfig

STARTS = {**START_OFF, "antipasto_corda": ROUNDING, "dora": ROUNDING}
"""Also off by rounding: DoRA where the weight's strides make its norm round otherwise than that of the sum V."""


def rows(model: nn.Module, n: int = 8) -> torch.Tensor:
    """Enough inputs for every rank, in the model's dtype."""
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    return torch.randn(n, 8, generator=torch.Generator().manual_seed(1)).to(dtype)


def batches(model: nn.Module, config: AdapterConfig) -> list[torch.Tensor] | None:
    """Calibration for the methods that need it."""
    needs = type(config).__name__ in ("EVAConfig", "AntiPaSTOCorDAConfig")
    return [rows(model), rows(model)] if needs else None


@settings(FEW, max_examples=350)
@given(models(), configs())
def test_attach_and_detach(model: nn.Module, config: AdapterConfig) -> None:
    """Otherwise there would be a layer on which attach fails in some other way, or which detach does not give back."""
    before = state(model)
    with works_or_refuses(model) as refusals:
        attach(model, config, calibration=batches(model, config))
    if not refusals:
        assert all(not p.requires_grad for n, p in model.named_parameters() if ".adapter." not in n)
        detach(model)
        assert state(model) == before


@settings(FEW, max_examples=200)
@given(models(ORDINARY), configs())
def test_promises(model: nn.Module, config: AdapterConfig) -> None:
    """Otherwise a shape, a dtype or an option would break the identity at the start, the file, or merging."""
    model.eval()
    x, before = rows(model), state(model)
    plain = model(x)
    with works_or_refuses(model) as refusals:
        attachment = attach(model, config, calibration=batches(model, config))
    if refusals:
        return
    if identity_is_promised(config):
        for got, want in zip(model(x), plain):
            off = STARTS.get(attachment.variant.name, 0.0)
            spacing = max(torch.finfo(t).eps for t in (want.dtype, config.torch_dtype))
            atol = (off + 16 * spacing if off else 0) * scale(model, want)
            torch.testing.assert_close(got, want, rtol=0, atol=atol)
    if config.torch_dtype is not torch.float16:  # in which moved tensors can overflow
        move(model)
        comes_back(model, x)
        merges(model, x)
    detach(model)
    assert state(model) == before


def identity_is_promised(config: AdapterConfig) -> bool:
    """HRA with Gram-Schmidt flips directions from the start; DeLoRA's 1 / c leaves the range of float16."""
    overflows = isinstance(config, DeLoRAConfig) and config.dtype == "float16"
    return not overflows and not getattr(config, "gram_schmidt", False)


def scale(model: nn.Module, y: torch.Tensor) -> float:
    """The size of what is added and subtracted again."""
    weights = [m.weight for m in model.children() if isinstance(m, nn.Linear)]
    return max(1.0, float(y.abs().max()), *(8 * float(w.abs().max()) for w in weights))


def comes_back(model: nn.Module, x: torch.Tensor) -> None:
    """Saved, taken off and loaded it computes the same."""
    want = model(x)
    with tempfile.TemporaryDirectory() as folder:
        with works_or_refuses(model) as refusals:
            save(model, Path(folder) / "adapter")
        assert not refusals or "NaN or infinity" in refusals[0].got
        if not refusals:
            detach(model)
            load(model, Path(folder) / "adapter")
            assert all(torch.equal(got, each) or not each.isfinite().all() for got, each in zip(model(x), want))


def merges(model: nn.Module, x: torch.Tensor) -> None:
    """Merged and unmerged it is as before, bit for bit."""
    before, want = state(model), model(x)
    with works_or_refuses(model) as refusals:
        merge(model)
    if not refusals:
        unmerge(model)
        assert state(model) == before
        assert all(torch.equal(got, each) or not each.isfinite().all() for got, each in zip(model(x), want))


@settings(FEW, max_examples=60)
@given(
    models(ORDINARY),
    configs(("lora", "ia3", "hra", "pissa", "road")),
    st.sampled_from(((0,), (1,), (3,), (0, 3), (2, 3), (2, 0, 3), (1, 1, 1))),
    st.booleans(),
)
def test_batch_shapes(model: nn.Module, config: AdapterConfig, shape: tuple[int, ...], strided: bool) -> None:
    """Otherwise an empty batch, a single row or a view of a larger tensor would fail with an adapter on."""
    assert isinstance(model, Chain)
    model.eval()
    with works_or_refuses(model) as refusals:
        attach(model, config, calibration=batches(model, config))
    for layer in model.children():
        assert isinstance(layer, nn.Linear)
        dims = (*shape[:-1], layer.in_features) if len(shape) > 1 else (layer.in_features,) if shape[0] else (0, 0)
        dims = (0, layer.in_features) if dims == (0, 0) else dims
        x = torch.zeros((*dims, 2) if strided else dims, dtype=layer.weight.dtype)
        x = x[..., 0] if strided else x
        y = layer(x)
        assert y.shape == (*dims[:-1], layer.out_features)
        assert y.dtype is layer.weight.dtype
    if not refusals:
        detach(model)


@settings(FEW, max_examples=60)
@given(models(ORDINARY), configs(("lora", "ia3_ff", "delora", "antipasto")))
def test_inputs_that_the_layer_refuses(model: nn.Module, config: AdapterConfig) -> None:
    """Otherwise an adapter would make a layer take inputs of the wrong size, by broadcasting."""
    layers = [m for m in model.children() if isinstance(m, nn.Linear)]
    with works_or_refuses(model):
        attach(model, config)
    for layer in layers:
        for width in {layer.in_features + 1, 0}:
            try:
                layer(torch.ones(2, width, dtype=layer.weight.dtype))
            except RuntimeError:
                continue
            raise AssertionError(f"{width} inputs for a layer that has {layer.in_features}")


@settings(FEW, max_examples=100)
@given(models(), configs(), configs(), st.booleans())
def test_attach_twice(model: nn.Module, first: AdapterConfig, second: AdapterConfig, same_name: bool) -> None:
    """Otherwise a second adapter would sit on the first, or its refusal harm the first."""
    before = state(model)
    with works_or_refuses(model) as refusals:
        attach(model, first, name="first")
    if refusals:
        return
    with works_or_refuses(model) as refused:
        attach(model, second, name="first" if same_name else "second")
    assert refused
    assert list(attachments(model)) == ["first"]
    inner = next(m for m in model.modules() if m is not model)
    with works_or_refuses(model) as refused:
        attach(inner, second)
    assert refused
    detach(model)
    assert state(model) == before


@settings(FEW, max_examples=60)
@given(models(), configs(targets=Targets(include=("no such layer",))))
def test_no_target(model: nn.Module, config: AdapterConfig) -> None:
    """Otherwise an adapter on nothing would look like a success."""
    with works_or_refuses(model) as refusals:
        attach(model, config)
    assert refusals
