"""Missing and damaged files, other models, names in use: refused, and the model is as it was."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import peft
import pytest
import transformers as hf
from torch import nn

from tests.exchange.peft_side import CONFIG, TENSORS, assert_same_outputs, saved, trained_in_peft
from tests.runtime.models import Mlp, gpt2, refused, small_config
from variants import AdapterError, Targets, attach, import_peft


def test_files(base: nn.Module, tmp_path: Path) -> None:
    """Otherwise missing or damaged files would be an error of the library underneath."""
    with refused(base, f"no {CONFIG}; want a local folder with one"):
        import_peft(base, tmp_path / "nowhere")
    with refused(base, "got None; want a folder"):
        import_peft(base, None)  # type: ignore[arg-type]
    folder = saved(base, tmp_path / "outer" / "inner")
    with refused(base, rf"no {CONFIG}.*Pass one of its subfolders: inner\."):
        import_peft(base, tmp_path / "outer")
    whole = (folder / CONFIG).read_bytes(), (folder / TENSORS).read_bytes()
    for text in (b"", b"{", b"\xff\xfe", whole[0][:-3], b"[" * 100_000):
        (folder / CONFIG).write_bytes(text)
        with refused(base, f"{CONFIG}: .*; want readable JSON"):
            import_peft(base, folder)
    (folder / CONFIG).write_bytes(b"[1]")
    with refused(base, f"{CONFIG} with a list; want a JSON object"):
        import_peft(base, folder)
    (folder / CONFIG).write_bytes(whole[0])
    for damaged in (b"", whole[1][:20], whole[1][:-1], b"x" * 100):
        (folder / TENSORS).write_bytes(damaged)
        with refused(base, f"{TENSORS}: .*; want a readable one"):
            import_peft(base, folder)
    (folder / TENSORS).unlink()
    with refused(base, f"no {TENSORS}; want {TENSORS}"):
        import_peft(base, folder)


class Bomb:
    """A pickle that shows whether it was read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_pickle_is_never_read(base: nn.Module, tmp_path: Path) -> None:
    """Otherwise a downloaded adapter could run any code."""
    folder = saved(base, tmp_path / "adapter")
    (folder / TENSORS).unlink()
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "mark")))
    with refused(base, "adapter_model.bin, a pickle, .*; want adapter_model.safetensors"):
        import_peft(base, folder)
    assert not (tmp_path / "mark").exists()
    pickle.loads((folder / "adapter_model.bin").read_bytes())
    assert (tmp_path / "mark").exists(), "the bomb is a dud"


def test_other_model(base: nn.Module, tmp_path: Path) -> None:
    """Otherwise an adapter would be put on a model of another shape, as far as names go."""
    folder = saved(base, tmp_path)
    config = hf.LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4
    )
    with refused(deeper := hf.LlamaForCausalLM(config), r"missing .*layers\.2\.mlp\.down_proj\.lora_A.weight.*"):
        import_peft(deeper, folder)
    with refused(plain := Mlp(), "which name no module of this model"):
        import_peft(plain, folder)
    with pytest.raises(AdapterError, match=r"got a str; want an nn\.Module"):
        import_peft("llama", folder)  # type: ignore[arg-type]


def test_gpt2_without_its_conv1d(tmp_path: Path) -> None:
    """Otherwise the one nn.Linear of GPT-2, its tied head, would be refused with its other layers."""
    base = gpt2().double().eval()
    want = trained_in_peft(base, peft.LoraConfig(r=2, target_modules=["lm_head"]), tmp_path)
    model = copy.deepcopy(base)
    import_peft(model, tmp_path)
    assert_same_outputs(model, want, base)


@pytest.mark.parametrize("kinds", [1, 2])
def test_names_and_layers_in_use(kinds: int, base: nn.Module, tmp_path: Path) -> None:
    """Otherwise an import would replace an adapter, or leave one half of an IA3 on the model."""
    config = peft.IA3Config(target_modules=["q_proj", "down_proj"], feedforward_modules=["down_proj"][: kinds - 1])
    trained_in_peft(base, config, tmp_path)
    attach(base, small_config("ia3_ff", Targets(include=("up_proj",))), name="mine_ff" if kinds == 2 else "mine")
    with refused(base, "already has an adapter named 'mine"):
        import_peft(base, tmp_path, name="mine")
    attach(base, small_config("lora", Targets(include=("down_proj",), layers=(1,))))
    with refused(base, "a layer that already has an adapter"):
        import_peft(base, tmp_path, name="other")
    with refused(base, "want a non-empty string"):
        import_peft(base, tmp_path, name="")


def test_failure_on_the_second_half(base: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a failure after the first of two attachments would leave that one on the model."""
    config = peft.IA3Config(target_modules=["q_proj", "down_proj"], feedforward_modules=["down_proj"])
    trained_in_peft(base, config, tmp_path)
    import variants.exchange.importing as importing

    place, calls = importing.place, []

    def once(*given: Any, **named: Any) -> Any:
        calls.append(given)
        if len(calls) == 2:
            raise AdapterError(got="a failure", want="none", where="here", fix="Wait.")
        return place(*given, **named)

    monkeypatch.setattr(importing, "place", once)
    with refused(base, "a failure"):
        import_peft(base, tmp_path)
    assert len(calls) == 2
