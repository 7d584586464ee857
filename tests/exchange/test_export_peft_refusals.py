"""What cannot be exported is refused, and the folder is as it was, whatever fails."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.exchange.peft_side import move
from tests.runtime.models import NEED_DATA, Mlp, small_config
from variants import VARIANTS, AdapterError, LoRAConfig, Targets, attach, detach, export_peft
from variants.lora import LoRA


@pytest.mark.parametrize(
    "variant", [v.name for v in VARIANTS if v.name.startswith("antipasto") and v.name not in NEED_DATA]
)
def test_variant_without_a_counterpart(variant: str, tmp_path: Path) -> None:
    """Otherwise something that peft cannot compute would be written for it."""
    model = Mlp()
    attach(model, small_config(variant))
    with pytest.raises(AdapterError, match=rf"{variant} \(\w+\) cannot be exported to peft: .*These can: lora, eva"):
        export_peft(model, tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_corda_is_another_basis(tmp_path: Path) -> None:
    """Otherwise a user of peft's CorDA would take the two for one method."""
    model = Mlp()
    attach(model, small_config("antipasto_corda"), calibration=[torch.randn(20, 6)])
    with pytest.raises(AdapterError, match=r"peft's CorDA decomposes W C .*: another basis"):
        export_peft(model, tmp_path / "out")
    assert os.listdir(tmp_path) == []


class Doubled(LoRA):
    """A LoRA that is none."""

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Twice."""
        return super().change_output(layer, x, super().change_output(layer, x, y))


@pytest.mark.parametrize(
    ("prepare", "names", "message"),
    [
        (lambda m: attach(m, small_config("delora", frozen_copies=True)), None, "no place for the copies C and D"),
        (
            lambda m: attach(m, small_config("lora"), variant=Doubled),
            None,
            r"lora \(Doubled\) cannot be exported to peft",
        ),
        (lambda m: None, None, "this model has no adapter"),
        (lambda m: attach(m, small_config("lora")), "other", "got 'other'; want one of 'lora'"),
        (lambda m: attach(m, small_config("lora")), [], "want different names"),
        (lambda m: attach(m, small_config("lora")).layers["up"].A.data.fill_(float("nan")), None, "NaN or infinity in"),
        (lambda m: (attach(m, small_config("lora")), m.to("meta")), None, "lora_A.weight on meta; want values"),
        (
            lambda m: (attach(m, small_config("lora")), setattr(m, "up", nn.Linear(6, 10))),
            None,
            "without the adapter at up",
        ),
        (
            lambda m: [
                attach(m, small_config("lora", Targets(include=("up",)))),
                attach(m, small_config("dora", Targets(include=("down",)))),
            ],
            ["lora", "dora"],
            r"got the adapters lora \(lora\), dora \(dora\); want one adapter",
        ),
    ],
)
def test_refusals(prepare: Callable[[Any], object], names: Any, message: str, tmp_path: Path) -> None:
    """Otherwise a folder would be written that peft reads as something else, or not at all."""
    model = Mlp()
    prepare(model)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "adapter_config.json").write_text("old")
    with pytest.raises(AdapterError, match=message):
        export_peft(model, tmp_path / "out", names)
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(tmp_path / "out") == ["adapter_config.json"]
    assert (tmp_path / "out" / "adapter_config.json").read_text() == "old"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_folder_with_other_files(tmp_path: Path) -> None:
    """Otherwise an export would wipe out what lies beside the adapter, or leave something behind."""
    model = Mlp()
    move(attach(model, small_config("lora")))
    folder = tmp_path / "deep" / "er"
    export_peft(model, folder)
    first = contents(folder)
    (folder / "README.md").write_text("mine")
    detach(model)
    move(attach(model, small_config("lora", Targets(include=("up",)))))
    export_peft(model, str(folder))
    second = contents(folder)
    assert second.pop("README.md") == b"mine"
    assert second.keys() == first.keys()
    assert all(second[key] != first[key] for key in first)
    assert os.listdir(tmp_path / "deep") == ["er"]


@pytest.mark.parametrize("failing", range(1, 5))
def test_failure_while_replacing(failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a full disk would leave the new tensors under the old config, or neither."""
    model = Mlp()
    move(attach(model, small_config("lora")))
    export_peft(model, tmp_path / "out")
    before = contents(tmp_path / "out")
    move(next(iter(model.__dict__["_attached_adapters"].attachments.values())))
    replace, calls = os.replace, []

    def sometimes(source: Any, target: Any) -> None:
        calls.append(target)
        if len(calls) == failing:
            raise OSError("disk full")
        replace(source, target)

    monkeypatch.setattr(os, "replace", sometimes)
    with pytest.raises(AdapterError, match="disk full; want a folder where files can be written"):
        export_peft(model, tmp_path / "out")
    assert contents(tmp_path / "out") == before
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("failing", [1, 2])
def test_failure_in_a_folder_without_an_adapter(failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise half an adapter would be left where there was none."""
    model = Mlp()
    attach(model, small_config("lora"))
    (tmp_path / "README.md").write_text("mine")
    replace, calls = os.replace, []

    def sometimes(source: Any, target: Any) -> None:
        calls.append(target)
        if len(calls) == failing:
            raise OSError("disk full")
        replace(source, target)

    monkeypatch.setattr(os, "replace", sometimes)
    with pytest.raises(AdapterError, match="disk full"):
        export_peft(model, tmp_path)
    assert os.listdir(tmp_path) == ["README.md"]


def test_a_kill_while_replacing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a kill could leave the tensors of one adapter under the config of another."""
    model = Mlp()
    move(attach(model, small_config("lora")))
    export_peft(model, tmp_path / "out")
    old = contents(tmp_path / "out")
    detach(model)
    move(attach(model, small_config("dora")))
    replace, seen = os.replace, []

    def watched(source: Any, target: Any) -> None:
        seen.append(contents(tmp_path / "out"))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    export_peft(model, tmp_path / "out")
    new = contents(tmp_path / "out")
    assert len(seen) == 4
    assert all(state == old or "adapter_config.json" not in state for state in seen)
    assert new.keys() == old.keys()
    assert all(new[key] != old[key] for key in old)


def test_a_link_to_a_folder(tmp_path: Path) -> None:
    """Otherwise a link would be replaced by a folder, or an export across file systems would fail."""
    model = Mlp()
    attach(model, small_config("lora"))
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    export_peft(model, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert contents(tmp_path / "real").keys() == {"adapter_config.json", "adapter_model.safetensors"}


def test_adapter_on_the_model_itself(tmp_path: Path) -> None:
    """Otherwise the file would hold names that peft cannot find."""
    model = nn.Linear(4, 4)
    attach(model, LoRAConfig(r=2))
    with pytest.raises(AdapterError, match="an adapter on the model itself"):
        export_peft(model, tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    """Otherwise a bad path would be an error of the system underneath, or leave folders behind."""
    model = Mlp()
    attach(model, small_config("lora"))
    (tmp_path / "file").write_text("in the way")
    for place in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "new" / ("x" * 300)):
        with pytest.raises(AdapterError, match="want a folder where files can be written"):
            export_peft(model, place)
    with pytest.raises(AdapterError, match="got None; want a folder"):
        export_peft(model, None)  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "in the way"
