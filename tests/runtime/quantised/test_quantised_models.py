"""A whole model in four or eight bits: trained, saved, merged, generating, exchanged with peft."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.runtime.models import NAMES, NEED_DATA, small_config
from tests.runtime.repacking import KINDS, cpu, kept, quantised
from variants import Targets, attach, detach, export_peft, load, merge, merge_and_detach, save, unmerge

TARGETS = Targets(include=("q_proj", "v_proj", "down_proj"))
IDS = torch.arange(24).view(2, 12) % 32


@pytest.fixture(autouse=True)
def repacking_cpu() -> Iterator[None]:
    """Every test here sees a CPU on which bitsandbytes repacks."""
    with cpu(repacks=True):
        yield


def llama(kind: str) -> Any:
    """Tiny, in float32, with quantised layers in all its blocks, as transformers leaves it."""
    import transformers as hf

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 32}
    model = hf.LlamaForCausalLM(hf.LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2))
    for name, layer in list(model.model.named_modules()):
        if isinstance(layer, nn.Linear):
            made = quantised(layer.in_features, layer.out_features, kind, bias=False)
            model.model.set_submodule(name, made)
    setattr(model, "is_loaded_in_8bit" if kind == "int8" else "is_loaded_in_4bit", True)
    return model


def trained(model: Any, attachment: Any) -> list[float]:
    """Losses of a few steps."""
    optimiser = torch.optim.AdamW(attachment.parameters(), lr=1e-2)
    losses = []
    for _ in range(4):
        optimiser.zero_grad()
        loss = model.train()(input_ids=IDS, labels=IDS).loss
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


def logits(model: Any) -> Tensor:
    """In eval mode, without gradients."""
    with torch.no_grad():
        found: Tensor = model.eval()(input_ids=IDS).logits
    return found


@pytest.mark.parametrize("kind", ["nf4", "int8"])
@pytest.mark.parametrize("name", NAMES)
def test_a_life(name: str, kind: str, tmp_path: Path) -> None:
    """What works on one layer would not work on a model: as it is trained, saved, merged, and used to generate."""
    model = llama(kind)
    logits(model)  # as after loading somebody's checkpoint and looking at it
    before = kept(model)
    data = [{"input_ids": IDS}] * 3 if name in NEED_DATA else None
    attachment = attach(model, small_config(name, TARGETS), calibration=data)
    assert len(attachment.layers) == 6
    losses = trained(model, attachment)
    assert losses[-1] < losses[0]
    want = logits(model)
    save(model, tmp_path / "adapter")
    detach(model)
    model.train()
    assert {key for key, value in kept(model).items() if before.get(key) != value} <= _ends(before, ".is_training")
    load(model, tmp_path / "adapter")
    assert torch.equal(logits(model), want)
    merge(model)
    merged = logits(model)
    unmerge(model)
    assert torch.equal(logits(model), want)
    merge_and_detach(model)
    assert torch.equal(logits(model), merged) or kind == "nf4"  # repacked once the last adapter is off
    assert model.generate(IDS, max_new_tokens=2, do_sample=False, pad_token_id=0).shape == (2, 14)


def _ends(keys: Iterable[str], end: str) -> set[str]:
    return {key for key in keys if key.endswith((end, ".training"))}


@pytest.mark.parametrize("kind", KINDS)
def test_pissa_goes_to_peft(kind: str, tmp_path: Path) -> None:
    """What was trained on codes could be used here alone: peft has no PiSSA on codes, but LoRA of rank 2r."""
    from peft import PeftModel

    with cpu(repacks=False):  # peft lets layers be repacked, and they round to bfloat16 then
        model = llama(kind)
        attachment = attach(model, small_config("pissa", TARGETS))
        trained(model, attachment)
        want = logits(model)
        export_peft(model, tmp_path / "folder")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = PeftModel.from_pretrained(llama(kind), str(tmp_path / "folder"))
        assert torch.allclose(logits(theirs), want, atol=1e-4)
