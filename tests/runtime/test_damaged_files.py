"""A file that does not fit, or is not whole, is refused and leaves the model as it was."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.runtime.models import Mlp, llama, refused, small_config
from variants import AdapterError, IA3Config, IA3FFConfig, LoRAConfig, Targets, attach, detach, load, save
from variants.registry import by_name
from variants.runtime.atomic_file import to_bytes

Contents = tuple[dict[str, str], dict[str, Tensor]]


@pytest.fixture
def base() -> nn.Module:
    """The base that the file was saved with, with mixed flags."""
    model = Mlp()
    model.up.bias.requires_grad_(False)
    return model


@pytest.fixture
def path(base: nn.Module, tmp_path: Path) -> Path:
    """A good file: LoRA of rank 2 on both layers."""
    model = copy.deepcopy(base)
    attach(model, small_config("lora"))
    save(model, tmp_path / "adapter")
    return tmp_path / "adapter"


def rewrite(path: Path, change: Callable[[dict[str, str], dict[str, Tensor]], object], *, sign: bool = True) -> None:
    """Change what is in the file, and (to get past the check for damage) sign it again."""
    with safe_open(path, "pt") as file:
        metadata, tensors = dict(file.metadata()), {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
    change(metadata, tensors)
    if sign:
        path.write_bytes(to_bytes(tensors, metadata))
    else:
        save_file(tensors, path, metadata)


def reconfigure(**options: object) -> Callable[[dict[str, str], dict[str, Tensor]], object]:
    """Change the options that the file claims, for all layers and for each."""

    def change(metadata: dict[str, str], _: dict[str, Tensor]) -> None:
        metadata["config"] = json.dumps({**json.loads(metadata["config"]), **options})
        if "layers" in metadata:
            layers = {target: {**each, **options} for target, each in json.loads(metadata["layers"]).items()}
            metadata["layers"] = json.dumps(layers)

    return change


def test_the_good_file_loads(base: nn.Module, path: Path) -> None:
    """Otherwise every refusal below would prove nothing."""
    rewrite(path, lambda _, __: None)
    assert set(load(base, path).tensors()) == {"up.A", "up.B", "down.A", "down.B"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _, t: t.pop("up.A"), r"tensors: 1 missing \(up\.A\)\. Load it onto the model"),
        (lambda _, t: t.update({"up.C": torch.zeros(1)}), r"tensors: 1 unknown \(up\.C\)"),
        (
            lambda _, t: t.update({"up.A": t["up.A"].T.contiguous()}),
            r"wrong in 1 of 4 tensors, first up\.A: got \(6, 2\), torch\.float32, want \(2, 6\), torch\.float32",
        ),
        (
            lambda _, t: t.update({"up.A": t["up.A"].half()}),
            r"up\.A: got \(2, 6\), torch\.float16, want .*float32",
        ),
        (lambda _, t: t.update({"up.A": t["up.A"].int()}), r"torch\.int32, want .*float32"),
        (
            lambda m, _: m.update(base=json.dumps({"up": "0" * 64})),
            r"target layers of this model: 1 unknown \(down\)",
        ),
        (
            lambda m, _: m.update({k: v.replace("down", "out") for k, v in m.items() if k in ("base", "layers")}),
            r"1 missing \(out\), 1 unknown \(down\)",
        ),
        (lambda m, _: m.update(base="[1, 2]"), "metadata it cannot use"),
        (lambda m, _: m.update(base="{"), "metadata it cannot use"),
        (lambda m, _: m.update(base='{"up": 5, "down": "f"}'), "metadata it cannot use .5 where a string belongs"),
        (lambda m, _: m.update(left_out="[5]"), "metadata it cannot use .5 where a string belongs"),
        (lambda m, _: m.update(left_out="[[1]]"), "metadata it cannot use"),
        (lambda m, _: m.update(layers="[" * 9999), "metadata it cannot use"),
        (lambda m, _: m.update(name=""), "got ''; want a non-empty string"),
        (lambda m, _: m.update(config="[]"), "metadata it cannot use"),
        (lambda m, _: m.update(config="{}"), r"metadata it cannot use \('targets'\)"),
        (lambda m, _: m.update(variant="laura"), "'laura'; want one of lora, dora"),
        (lambda m, _: m.update(variant="dora"), r"2 missing \(down\.m, up\.m\)"),
        (lambda m, _: m.update(format="1"), r"got format 1; want format 2\. Load it with the version that wrote it"),
        (lambda m, _: (m.clear(), m.update(format="3", novelty="yes")), "got format 3; want format 2"),
        (lambda m, _: m.pop("config"), "was not written by save.*: its metadata lack config"),
        (
            lambda m, _: m.clear(),
            "its metadata lack variant, name, config, layers, left_out, base",
        ),
        (reconfigure(r=3), r"wrong in 4 of 4 tensors, first down\.A: got .* want \(3, 10\)"),
        (reconfigure(r=0), "LoRAConfig.r: got 0; want an integer"),
        (reconfigure(novelty=1), r"unknown field\(s\) \['novelty'\]"),
        (reconfigure(targets={"include": []}), "metadata it cannot use"),
        (reconfigure(targets={"include": ["q"], "exclude": [], "roles": [], "layers": None}), "no target"),
    ],
)
def test_file_that_does_not_fit(
    change: Callable[[dict[str, str], dict[str, Tensor]], object], message: str, base: nn.Module, path: Path
) -> None:
    """Otherwise part of an adapter, or another adapter, would be loaded as if it were this one."""
    rewrite(path, change)
    with refused(base, message):
        load(base, path)


@pytest.mark.parametrize(
    "change",
    [
        lambda _, t: t["up.A"].add_(1),
        lambda m, _: m.update(config=m["config"].replace('"alpha": 8.0', '"alpha": 9.0')),
        lambda m, _: m.update(base=m["base"].replace("up", "up2")),
        lambda m, _: m.update(name="other"),
    ],
)
def test_unsigned_change(
    change: Callable[[dict[str, str], dict[str, Tensor]], object], base: nn.Module, path: Path
) -> None:
    """Otherwise a changed value, or a changed alpha, would pass for the trained one."""
    rewrite(path, change, sign=False)
    with refused(base, "contents with digest .* The file is damaged"):
        load(base, path)


def test_any_flipped_bit_is_noticed(base: nn.Module, path: Path) -> None:
    """Otherwise there would be a byte in the file, in a tensor or in its header, whose damage goes unseen."""
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(AdapterError):
            load(base, path)
    path.write_bytes(whole)
    load(base, path)


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_truncated_file(length: int, base: nn.Module, path: Path) -> None:
    """Otherwise half a file would load, or fail as something other than an AdapterError."""
    path.write_bytes(path.read_bytes()[:length])
    with refused(base, "not a safetensors file, or not a whole one|The file is damaged"):
        load(base, path)


@pytest.mark.parametrize("contents", [b"not safetensors at all, but long enough", None])
def test_not_a_safetensors_file(contents: bytes | None, base: nn.Module, tmp_path: Path) -> None:
    """Otherwise another kind of file, or none, would be an error of the library underneath."""
    path = tmp_path / "other"
    if contents is not None:
        path.write_bytes(contents)
    with refused(
        base,
        f"load {path}: {'there is no file of this name' if contents is None else 'this is not a safetensors file'}",
    ):
        load(base, path)
    with refused(base, "this is a folder"):
        load(base, tmp_path)


def other_sign(model: nn.Module) -> None:
    """-W gives the same residuals and singular values as W."""
    model.get_parameter("down.weight").data.neg_()


def last_bit(model: nn.Module) -> None:
    """The smallest change there is."""
    weight = model.get_parameter("down.weight").data
    weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0))


@pytest.mark.parametrize("change", [other_sign, last_bit, nn.Module.double])
def test_another_base(change: Callable[[nn.Module], object], base: nn.Module, path: Path) -> None:
    """Otherwise an adapter would be put on weights it was not trained with."""
    change(base)
    with refused(base, r"the base is another one: \d of 2 layers have other weights, first (down|up): "):
        load(base, path)


def test_another_architecture(path: Path) -> None:
    """Otherwise the targets that are missing from this model would not be named."""
    model = llama()
    with refused(
        model, r"the layers of this adapter \(down, up\) do not exist in this model\. Linear layers here: .*q_proj"
    ):
        load(model, path)


def test_asked_for_another_variant(tmp_path: Path) -> None:
    """Otherwise an output gate would load as an input gate wherever the layer is square."""
    model = nn.Sequential(nn.Linear(3, 3))
    attach(model, IA3Config())
    save(model, tmp_path / "gate")
    detach(model)
    with refused(model, "variant 'ia3'; want 'ia3_ff'"):
        load(model, tmp_path / "gate", variant=by_name("ia3_ff"))


@pytest.mark.parametrize(
    ("there", "name", "message"),
    [
        (Targets(include=("up",)), None, "attach to up: got a layer that already has an adapter"),
        (Targets(include=("more",)), "lora", "already has an adapter named 'lora'"),
    ],
)
def test_no_room(there: Targets, name: str | None, message: str, base: nn.Module, path: Path) -> None:
    """Otherwise loading would replace an adapter, or stack on it."""
    rewrite(path, reconfigure(targets={"include": ["up", "down"], "exclude": [], "roles": [], "layers": None}))
    base.add_module("more", nn.Linear(3, 3))
    attach(base, IA3FFConfig(targets=there), name=name)
    with refused(base, message):
        load(base, path)


def test_refusal_keeps_what_was_unfrozen_by_hand(base: nn.Module, path: Path) -> None:
    """Otherwise a refused load beside another adapter would freeze a parameter that the user trains along."""
    base.add_module("more", nn.Linear(3, 3))
    attach(base, LoRAConfig(r=2, targets=Targets(include=("more",))), name="other")
    base.get_submodule("up").requires_grad_(True)
    rewrite(path, reconfigure(targets={"include": ["up", "down"], "exclude": [], "roles": [], "layers": None}))
    rewrite(path, lambda _, tensors: tensors.pop("up.A"))
    with refused(base, "missing"):
        load(base, path)
