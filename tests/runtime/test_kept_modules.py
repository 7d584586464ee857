"""Modules that are trained whole beside an adapter: a classifier's head, saved and loaded with it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor, nn

from tests.runtime.models import IDS, NO_DROPOUT, SIZES, move, qwen3, refused, small_config, snapshot
from variants import IA3Config, LoRAConfig, Targets, attach, detach, export_peft, load, merge_and_detach, save

LABELS = torch.tensor([0, 2])


def classifier() -> nn.Module:
    """BERT with a head for three classes."""
    config = hf.BertConfig(**SIZES, **NO_DROPOUT, num_attention_heads=2, intermediate_size=24, num_labels=3)
    return hf.BertForSequenceClassification(config).eval()


def logits(model: nn.Module) -> Tensor:
    """On two sentences."""
    found: Tensor = model(input_ids=IDS).logits.detach()
    return found


def trained(model: nn.Module, name: str = "lora") -> Any:
    """An adapter and the head, after a step on both."""
    attachment = attach(model, small_config(name), modules_to_save=["classifier"])
    optimiser = torch.optim.SGD(attachment.parameters(), lr=0.5)
    model(input_ids=IDS, labels=LABELS).loss.backward()
    optimiser.step()
    return attachment


@pytest.mark.parametrize("name", ["lora", "pissa", "ia3"])
def test_the_head_trains_and_comes_back(name: str, tmp_path: Path) -> None:
    """Otherwise a new head would stay random and frozen, or be lost with the file, or stay trained after detach."""
    model = classifier()
    fresh, before = copy.deepcopy(model), snapshot(model)
    head = model.classifier.weight.detach().clone()
    attachment = trained(model, name)
    assert "classifier" not in attachment.layers
    assert "classifier: trained whole and saved along" in attachment.report
    assert not torch.equal(model.classifier.weight, head)
    assert model.classifier.weight.requires_grad
    save(model, tmp_path / "a.safetensors")
    loaded = load(fresh, tmp_path / "a.safetensors")
    assert torch.equal(logits(fresh), logits(model))
    assert fresh.classifier.weight.requires_grad
    assert any(p is fresh.classifier.weight for p in loaded.parameters())
    detach(model)
    detach(fresh)
    for part, value in snapshot(model).items():
        assert value == before[part], part
    assert torch.equal(fresh.classifier.weight, head)


def test_the_head_stays_with_merge_and_detach() -> None:
    """Otherwise what is deployed would have the untrained head."""
    model = classifier()
    trained(model)
    want = logits(model)
    merge_and_detach(model)
    torch.testing.assert_close(logits(model), want)
    assert model.state_dict().keys() == classifier().state_dict().keys()


def test_a_second_adapter_leaves_the_head_trainable() -> None:
    """Otherwise the next ``attach`` would freeze it."""
    model = classifier()
    attach(model, LoRAConfig(r=2, targets=Targets(include=("query",))), modules_to_save=["classifier"])
    attach(model, IA3Config(targets=Targets(include=("value",))))
    assert model.classifier.weight.requires_grad
    with refused(model, "attach: got classifier, where 'lora' is at work already"):
        attach(model, small_config("road", Targets(include=("classifier",)), group_size=3 - 1), name="third")
    detach(model, "lora")
    assert not model.classifier.weight.requires_grad


def test_what_cannot_be_trained_whole(tmp_path: Path) -> None:
    """Otherwise a misspelt head would stay frozen, or a tied one train the embedding."""
    model = classifier()
    with refused(model, r"attach\(modules_to_save=\): got 'klassifier'; want the name of a module"):
        attach(model, LoRAConfig(r=2), modules_to_save=["klassifier"])
    with refused(model, r"got bert\.embeddings\.dropout, a Dropout; want a module with floating-point parameters"):
        attach(model, LoRAConfig(r=2), modules_to_save=["bert.embeddings.dropout"])
    with refused(qwen3(), r"got lm_head, which shares a parameter with model\.embed_tokens"):
        attach(qwen3(), LoRAConfig(r=2), modules_to_save=["lm_head"])
    attach(model, LoRAConfig(r=2), modules_to_save=["classifier"])
    with refused(model, "an adapter that trains classifier whole"):
        export_peft(model, tmp_path / "out")


def test_a_file_with_another_head(tmp_path: Path) -> None:
    """Otherwise a head of another size would be loaded in part, or fail in the middle."""
    model = classifier()
    trained(model)
    save(model, tmp_path / "a.safetensors")
    detach(model)
    model.classifier = nn.Linear(16, 2)
    with refused(model, r"modules_to_save/classifier\.bias: \(\(3,\)"):
        load(model, tmp_path / "a.safetensors")
    move(model)
