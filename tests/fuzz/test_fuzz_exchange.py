"""Folders in peft's format: what we write we read; what is broken or means something else is refused."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.fuzz.worlds import ANYTHING, FEW, ORDINARY, configs, models, outcome, state, works_or_refuses
from tests.runtime.models import Mlp, move, small_config
from variants import AdapterError, attach, detach, export_peft, import_peft
from variants.runtime.config import AdapterConfig

HAVE_A_COUNTERPART = ("lora", "dora", "ia3", "ia3_ff", "hra", "pissa", "delora", "road")
JSON = st.recursive(
    st.sampled_from((None, True, False, 0, -1, 2, 0.5, 1e300, "", "up", "(", "*", "LORA", "IA3", "all-linear", "bf16")),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(("up", "a", "")), inner)),
    max_leaves=3,
)


def written(folder: Path, name: str) -> dict[str, Any]:
    """An adapter of this method in the folder; its config's fields."""
    torch.manual_seed(0)
    model = Mlp()
    attach(model, small_config(name))
    move(model)
    export_peft(model, folder)
    fields: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text())
    return fields


@settings(FEW, max_examples=60)
@given(models((*ORDINARY, "plain", "plain")), configs(HAVE_A_COUNTERPART))
def test_there_and_back(model: nn.Module, config: AdapterConfig) -> None:
    """Otherwise a folder would be written that cannot be read, or a refusal leave something on model or disk."""
    before = state(model)
    with works_or_refuses(model) as refusals:
        attach(model, config)
    if refusals:
        return
    with tempfile.TemporaryDirectory() as place:
        with works_or_refuses(model) as refusals:
            export_peft(model, Path(place) / "folder")
        assert bool(list(Path(place).iterdir())) is not bool(refusals)
        detach(model)
        if not refusals:
            with works_or_refuses(model) as refusals:
                import_peft(model, Path(place) / "folder")
            if not refusals:
                detach(model)
    assert state(model) == before


@settings(FEW, max_examples=80)
@given(st.sampled_from(HAVE_A_COUNTERPART), st.data())
def test_any_value_in_the_config(name: str, data: st.DataObject) -> None:
    """Otherwise a setting that cannot be honoured would be an error from deep inside, or half an adapter."""
    model = Mlp()
    before = state(model)
    with tempfile.TemporaryDirectory() as place:
        fields = written(Path(place), name)
        keys = st.sampled_from((*sorted(fields), "novelty"))
        for key in data.draw(st.lists(keys, min_size=1, max_size=2, unique=True)):
            fields[key] = data.draw(JSON)
        (Path(place) / "adapter_config.json").write_text(json.dumps(fields))
        with works_or_refuses(model) as refusals:
            import_peft(model, place)
    if not refusals:
        detach(model)
        assert state(model) == before


@settings(FEW, max_examples=80)
@given(st.sampled_from(("adapter_config.json", "adapter_model.safetensors")), st.integers(0, 2**32), st.booleans())
def test_damaged_folder(file: str, seed: int, whole: bool) -> None:
    """Otherwise a damaged file would be another kind of error, or leave the model half adapted."""
    model, chance = Mlp(), random.Random(seed)
    before = state(model)
    with tempfile.TemporaryDirectory() as place:
        written(Path(place), "lora")
        path = Path(place) / file
        contents = path.read_bytes()
        # Of the tensors' bytes peft keeps no digest, so only the front of the file can show its damage.
        at = chance.randrange(min(len(contents), 200))
        path.write_bytes(contents[:at] if whole else contents[:at] + chance.randbytes(3) + contents[at + 3 :])
        with works_or_refuses(model) as refusals:
            import_peft(model, place)
    assert refusals or not whole
    if not refusals:
        detach(model)
        assert state(model) == before


@settings(FEW, max_examples=60)
@given(ANYTHING, ANYTHING)
def test_any_argument(thing: Any, name: Any) -> None:
    """Otherwise a wrong argument would end in another error."""
    model = Mlp()
    attach(model, small_config("lora"))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "folder"
        with works_or_refuses(model) as refusals:
            export_peft(model, folder, name=name)
        assert not refusals or not folder.exists()
        if not isinstance(thing, str):
            assert isinstance(outcome(lambda: export_peft(model, thing)), AdapterError)
            assert isinstance(outcome(lambda: import_peft(model, thing)), AdapterError)
        assert isinstance(outcome(lambda: export_peft(thing, folder)), AdapterError)
        detach(model)
        with works_or_refuses(model):
            written(folder, "lora")
            import_peft(model, folder, name=name)
