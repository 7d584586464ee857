"""transformers' Conv1D, which stores its weight as (d_in, d_out): the methods that peft puts on it, both ways."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.exchange.peft_methods import METHODS, lora
from tests.exchange.peft_side import (
    assert_same_outputs,
    base_model,
    both_targets,
    change_fields,
    loaded_in_peft,
    trained_in_peft,
)
from tests.runtime.models import move, refused, small_config
from variants import Targets, attach, export_peft, import_peft

TAKEN = ("lora", "lora-rslora-gaussian", "lora-all-linear", "dora", "eva", "ia3", "ia3-outputs", "ia3-inputs")


@pytest.mark.parametrize("method", TAKEN)
def test_import(method: str, tmp_path: Path) -> None:
    """Otherwise a GPT-2 adapter trained in peft could not be used here, or its weight would be taken untransposed."""
    variants, make = METHODS[method]
    base = base_model("gpt2")
    want = trained_in_peft(base, make("gpt2"), tmp_path)
    for written in (True, False):  # whatever the file says, peft goes by the layer's class
        change_fields(tmp_path, fan_in_fan_out=written)
        model = copy.deepcopy(base)
        assert tuple(each.variant.name for each in import_peft(model, tmp_path)) == variants
        assert_same_outputs(model, want, base)


def test_import_pissa(tmp_path: Path) -> None:
    """Otherwise W_res of a transposed weight would be formed against transposed factors."""
    base = base_model("gpt2", torch.float32)
    want = trained_in_peft(base, lora("gpt2", init_lora_weights="pissa", lora_alpha=3), tmp_path)
    import_peft(model := copy.deepcopy(base), tmp_path)
    assert_same_outputs(model, want, base)


@pytest.mark.parametrize("name", ["lora", "dora", "pissa", "ia3", "ia3_ff"])
def test_export(name: str, tmp_path: Path) -> None:
    """Otherwise peft would load another adapter than the one that was exported from GPT-2."""
    base = base_model("gpt2")
    model = copy.deepcopy(base)
    attach(model, small_config(name, Targets(include=tuple(both_targets("gpt2"))), dtype="float64"))
    move(model)
    export_peft(model, tmp_path / "out")
    assert_same_outputs(loaded_in_peft(base, tmp_path / "out"), model, base)


@pytest.mark.parametrize("name", ["hra", "delora", "road"])
def test_methods_that_peft_has_on_linear_layers_alone(name: str, tmp_path: Path) -> None:
    """Otherwise an export would be written that peft cannot load, or an import pass that peft itself would refuse."""
    options: dict[str, Any] = {"include": tuple(both_targets("gpt2"))}
    model = base_model("gpt2")
    attach(model, small_config(name, Targets(**options)))
    with refused(model, rf"{name} at .*c_attn, a Conv1D"):
        export_peft(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
