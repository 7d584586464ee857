"""What a first call gets wrong: the message says what happened and what to write in its place."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import safetensors.torch
import torch
from torch import nn

from variants import EVAConfig, IA3Config, LoRAConfig, Targets, attach, detach, import_peft, load, merge, save
from variants.runtime.errors import AdapterError


class Tiny(nn.Module):
    """An embedding, a reader and a writer."""

    def __init__(self, width: int = 16, layers: tuple[str, ...] = ("q_proj", "v_proj")) -> None:
        super().__init__()
        self.emb = nn.Embedding(10, width)
        for name in layers:
            self.add_module(name, nn.Linear(width, width))
        self.names = layers

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One after the other."""
        y: torch.Tensor = self.emb(x)
        for name in self.names:
            y = self.get_submodule(name)(y)
        return y


def one(**options: Any) -> Tiny:
    """With a LoRA."""
    model = Tiny()
    attach(model, LoRAConfig(**options))
    return model


def two() -> Tiny:
    """With an adapter on each layer."""
    model = Tiny()
    attach(model, LoRAConfig(targets=Targets(include=("q_proj",))), name="one")
    attach(model, LoRAConfig(targets=Targets(include=("v_proj",))), name="two")
    return model


def after_a_failed_attach() -> Tiny:
    """Nothing is on it."""
    model = Tiny()
    with pytest.raises(AdapterError):
        attach(model, LoRAConfig(targets=Targets(include=("nothing",))))
    return model


BATCH = torch.tensor([[1, 2, 3]])
NONE = "this model has no adapter. Call attach(model, config) first."
CALLS: list[tuple[Callable[[], object], str]] = [
    (
        lambda: attach(one(), LoRAConfig()),
        "this model already has an adapter named 'lora'. Call detach(model, 'lora') first, or pass another name=.",
    ),
    (lambda: merge(Tiny()), f"merge: {NONE}"),
    (lambda: save(Tiny(), "x"), f"save: {NONE}"),
    (lambda: detach(Tiny()), f"detach: {NONE}"),
    (lambda: detach(after_a_failed_attach()), f"detach: {NONE}"),
    (lambda: merge(two()), "merge: the model has 2 adapters: 'one', 'two'. Say which: name=."),
    (lambda: merge(two(), "three"), "merge: got 'three'; want one of 'one', 'two'. Pass the name of an adapter."),
    (lambda: detach(one(), "x"), "detach: got 'x'; want one of 'lora'. Pass the name of an adapter."),
    (
        lambda: attach(Tiny(), LoRAConfig(), calibration=[BATCH]),
        "attach: lora does not use calibration data. Leave calibration= out.",
    ),
    (lambda: attach(Tiny(), EVAConfig(r=2), calibration=[]), "the calibration data is empty. Pass at least one batch"),
    (
        lambda: attach(Tiny(), "lora"),  # type: ignore[arg-type]
        "attach: the config is the string 'lora'. Pass a config object: attach(model, LoRAConfig()).",
    ),
    (
        lambda: attach(Tiny(), LoRAConfig),  # type: ignore[arg-type]
        "attach: the config is the class LoRAConfig. Pass a config object: LoRAConfig().",
    ),
    (
        lambda: attach(Tiny(), peft.LoraConfig()),  # type: ignore[arg-type]
        "attach: the config is peft's LoraConfig. Use a config of this package: variants.LoRAConfig().",
    ),
    (
        lambda: attach(LoRAConfig(), Tiny()),  # type: ignore[arg-type]
        "attach: the config is a module (Tiny). The order is attach(model, config).",
    ),
    (lambda: LoRAConfig(rank=8), "Did you mean r?"),  # type: ignore[call-arg]
    (
        lambda: LoRAConfig(8),  # type: ignore[misc]
        "LoRAConfig: 8 without the name of an option. Options are keyword-only: LoRAConfig(r=8).",
    ),
    (lambda: IA3Config(8), "Options are keyword-only: IA3Config(targets=Targets(...))."),  # type: ignore[misc]
    (
        lambda: LoRAConfig(targets=["q_proj"]),  # type: ignore[arg-type]
        "LoRAConfig.targets: got a list; want a Targets. Write targets=Targets(include=('q_proj',)).",
    ),
    (
        lambda: LoRAConfig(dtype="fp16"),
        "LoRAConfig.dtype: got 'fp16'; want one of float32, float64, bfloat16, float16. Did you mean float16?",
    ),
    (lambda: LoRAConfig(init="gausian"), "want one of kaiming, gaussian. Did you mean gaussian?"),
    (
        lambda: Targets(roles=("attention",)),
        "want some of reader, writer, inner. A reader takes the residual stream in (q_proj, up_proj)",
    ),
    (lambda: save(one(), "nodir/x"), "save nodir/x: there is no folder nodir. Create it, or choose another path."),
]


@pytest.mark.parametrize(("call", "message"), CALLS, ids=[message[:40] for _, message in CALLS])
def test_a_call_that_makes_no_sense(call: Callable[[], object], message: str) -> None:
    """Somebody would be told what the code looked at, and not what to write."""
    with pytest.raises(AdapterError, match=re.escape(message)):
        call()


def test_an_error_of_range_ends_with_the_range() -> None:
    """A sentence that says nothing ("Pass a valid r.") would end it."""
    with pytest.raises(AdapterError) as caught:
        LoRAConfig(r=0)
    assert str(caught.value) == "LoRAConfig.r: got 0; want an integer of at least 1."


def _no_safetensors(path: Path) -> None:
    path.write_bytes(b"hello")


def _pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({}))


def _zipped(path: Path) -> None:
    torch.save({}, path)


def _foreign(path: Path) -> None:
    safetensors.torch.save_file({"a": torch.ones(2)}, path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_no_safetensors, "this is not a safetensors file, or not a whole one (5 bytes, and the header would end at "),
        (_pickled, "this is a pickle (torch.save), no safetensors file. Pass a file that save() wrote."),
        (_zipped, "this is a pickle (torch.save), no safetensors file. Pass a file that save() wrote."),
        (_foreign, "the file was not written by save(): no format in its metadata."),
        (Path.mkdir, "this is a folder. Pass the path of a file that save() wrote."),
        (lambda path: None, "there is no file of this name. Check the path, and the folder you are in."),
        (
            lambda path: save(one(), path),
            "the layers of this adapter (q_proj, v_proj) do not exist in this model. Linear layers here: k.",
        ),
    ],
)
def test_a_file_of_something_else(make: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    """The message would speak of digests, headers or targets where the file is of another kind."""
    make(tmp_path / "file")
    with pytest.raises(AdapterError, match=re.escape(message)):
        load(Tiny(layers=("k",)), tmp_path / "file")


def test_an_adapter_of_another_model(tmp_path: Path) -> None:
    """A screen full of hashes and names would hide that all of them differ for one reason."""
    save(one(r=2), tmp_path / "file")
    with pytest.raises(AdapterError) as caught:
        load(Tiny(), tmp_path / "file")
    told = str(caught.value)
    assert "the base is another one: 2 of 2 layers have other weights, first q_proj: the same dtype and shape" in told
    assert len(re.findall(r"\b[0-9a-f]{16}\b", told)) == 2
    with pytest.raises(AdapterError, match=r"first q_proj: float32 8x8 [0-9a-f]{16}, in the file float32 16x16"):
        load(Tiny(8), tmp_path / "file")


def test_an_adapter_of_peft_for_another_model(tmp_path: Path) -> None:
    """Every tensor would be named twice, with both shapes."""
    given = peft.get_peft_model(Tiny(), peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))  # type: ignore[arg-type]
    given.save_pretrained(str(tmp_path))
    with pytest.raises(AdapterError) as caught:
        import_peft(Tiny(8), tmp_path)
    assert (
        "tensors: shape or dtype is wrong in 4 of 4 tensors, first base_model.model.q_proj.lora_A.weight: got (2, 16), "
        "want (2, 8). Import the adapter onto the model it was trained on."
    ) in str(caught.value)


def test_the_report_in_plain_words() -> None:
    """It would count one layer as layers, and what is not linear in "numbers"."""
    attachment = attach(Tiny(layers=("q_proj",)), LoRAConfig(r=20))
    lines = str(attachment).splitlines()
    assert lines[0] == 'adapter "lora" (method lora) on 1 layer'
    assert "  note: q_proj: r=20 is more than the full rank of the weight, 16: the update has rank 16 at most" in lines
    assert "  skipped (not linear): Embedding: 160 parameters in emb.weight" in lines
