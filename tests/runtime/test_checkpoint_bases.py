"""An adapter loads onto the base it was saved with, on any device, and onto no other."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.runtime.models import NAMES, Mlp, llama, move, refused, small_config, snapshot
from variants import Targets, attach, detach, load, merge, save
from variants.runtime.fingerprint import fingerprint

X = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def base() -> nn.Module:
    """What the file was saved with."""
    return Mlp()


def saved(base: nn.Module, name: str, path: Path) -> nn.Module:
    """Write a trained adapter of the named method; the model that has it."""
    model = copy.deepcopy(base)
    attach(model, small_config(name))
    move(model)
    save(model, path)
    return model


def shorts(message: str) -> list[str]:
    """The fingerprints that a message tells, as many digits as it tells."""
    return re.findall(r"\b[0-9a-f]{12,}", message)


@pytest.mark.parametrize("name", NAMES)
def test_both_fingerprints_are_told(name: str, base: nn.Module, tmp_path: Path) -> None:
    """Otherwise nobody could find out which of the bases at hand is meant."""
    saved(base, name, tmp_path / "adapter")
    want = fingerprint(base.get_submodule("down"))
    with torch.no_grad():
        base.get_parameter("down.weight")[3, 4] += 1
    got = fingerprint(base.get_submodule("down"))
    with refused(
        base, r"1 of 2 layers .*, first down: the same dtype and shape \(float32 6x10\), other numbers"
    ) as caught:
        load(base, tmp_path / "adapter")
    told = shorts(str(caught.value))
    assert len(told) == 2
    assert told[0] != told[1]
    assert (told[0] in got, told[1] in want) == (True, True)


def test_many_layers_differ(tmp_path: Path) -> None:
    """Otherwise the message for a whole other model would fill the screen, or hide that every layer differs."""
    model = llama()
    attach(model, small_config("ia3"))
    save(model, tmp_path / "adapter")
    other = llama()
    with refused(other, r"14 of 14 layers have other weights, first model\.layers\.0\.self_attn\.q_proj: ") as caught:
        load(other, tmp_path / "adapter")
    assert len(shorts(str(caught.value))) == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_base_in_another_dtype(name: str, dtype: torch.dtype, base: nn.Module, tmp_path: Path) -> None:
    """Otherwise an adapter would act beside rounded weights that it never saw, and nobody be told."""
    saved(base, name, tmp_path / "adapter")
    base.to(dtype)
    got = rf"first up: {str(dtype).removeprefix('torch.')} 10x6 [0-9a-f]{{16}}, in the file float32 10x6 [0-9a-f]{{16}}"
    with refused(base, rf"{got}\. Load onto the base in float32 and cast the model afterwards"):
        load(base, tmp_path / "adapter")


@pytest.mark.parametrize("name", NAMES)
def test_the_advice_works(name: str, base: nn.Module, tmp_path: Path) -> None:
    """Otherwise the message would send people the wrong way."""
    model = saved(base, name, tmp_path / "adapter")
    load(base, tmp_path / "adapter")
    assert torch.equal(base.bfloat16()(X.bfloat16()), model.bfloat16()(X.bfloat16()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_base_in_the_dtype_it_was_saved_with(name: str, dtype: torch.dtype, base: nn.Module, tmp_path: Path) -> None:
    """Otherwise a half-precision base, as most are, could not be loaded onto."""
    model = saved(base.to(dtype), name, tmp_path / "adapter")
    load(base, tmp_path / "adapter")
    assert torch.equal(base(X.to(dtype)), model(X.to(dtype)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("training", [True, False])
def test_flag_is_the_layers(name: str, training: bool, base: nn.Module, tmp_path: Path) -> None:
    """Otherwise a state saved in eval() and loaded while training would keep dropout off, or the other way round."""
    model = copy.deepcopy(base).train(not training)
    attach(model, small_config(name))
    save(model, tmp_path / "adapter")
    base.train(training)
    load(base, tmp_path / "adapter")
    assert {m.training for m in base.modules()} == {training}


@pytest.mark.parametrize("name", NAMES)
def test_saved_while_merged(name: str, base: nn.Module, tmp_path: Path) -> None:
    """Otherwise the file would hold the merged weights' fingerprint, or the adapter come back twice."""
    model = copy.deepcopy(base).eval()
    base.eval()
    attach(model, small_config(name))
    move(model)
    want = model(X)
    merge(model)
    save(model, tmp_path / "adapter")
    before = snapshot(base)
    load(base, tmp_path / "adapter")
    assert torch.equal(base(X), want)
    detach(base)
    assert snapshot(base) == before


@pytest.mark.parametrize("name", NAMES)
def test_where_tensors_are_made_by_default(name: str, base: nn.Module, tmp_path: Path) -> None:
    """Otherwise the loaded tensors would lie where new ones happen to be made, and not beside their layer's weight."""
    model = saved(base, name, tmp_path / "adapter")
    dtype = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        with torch.device("meta"):
            attachment = load(base, tmp_path / "adapter")
    finally:
        torch.set_default_dtype(dtype)
    assert {(t.device.type, t.dtype) for t in attachment.tensors().values()} == {("cpu", torch.float32)}
    assert torch.equal(base(X), model(X))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a second device")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("saved_on", ["cpu", "cuda"])
def test_device_map(name: str, saved_on: str, base: nn.Module, tmp_path: Path) -> None:
    """Otherwise an adapter would be tied to the devices it was trained on: here, one layer on each of two."""
    saved(copy.deepcopy(base).to(saved_on), name, tmp_path / "adapter")
    base.get_submodule("down").to("cuda")
    attachment = load(base, tmp_path / "adapter")
    where: dict[str, Any] = {key: t.device.type for key, t in attachment.tensors().items()}
    assert {device for key, device in where.items() if key.startswith("up")} == {"cpu"}
    assert {device for key, device in where.items() if key.startswith("down")} == {"cuda"}
    inner = base.get_submodule("up")(X).relu()
    assert base.get_submodule("down")(inner.cuda()).isfinite().all()


def test_part_of_the_targets(base: nn.Module, tmp_path: Path) -> None:
    """Otherwise weights that the adapter does not sit on could keep it from loading."""
    model = copy.deepcopy(base)
    attach(model, small_config("lora", Targets(include=("up",))))
    save(model, tmp_path / "adapter")
    base.get_submodule("down").bfloat16()
    load(base, tmp_path / "adapter")
    hidden_up = base.get_submodule("up")(X)
    assert torch.equal(hidden_up, model.get_submodule("up")(X))
