"""peft's ``target_parameters``: adapters on experts that are stacked in one parameter, both ways, and trained alike."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from tests.exchange.peft_side import change_fields
from tests.runtime.models import IDS, refused
from tests.runtime.test_stacks import EXPERTS, MODELS, NEAR, Build, adapted, logits, mixtral, near
from variants import LoRAConfig, Targets, attach, export_peft, import_peft

CHOICES: dict[str, dict[str, Any]] = {
    "both": {"target_parameters": list(EXPERTS), "target_modules": []},
    "the last": {"target_parameters": ["experts.down_proj"], "target_modules": []},
    "by whole names": {"target_parameters": ["model.layers.1.mlp.experts.gate_up_proj"], "target_modules": []},
    "beside layers": {"target_parameters": list(EXPERTS), "target_modules": ["q_proj", "v_proj"]},
    "rslora": {"target_parameters": ["gate_up_proj"], "target_modules": [], "use_rslora": True},
    "gaussian": {"target_parameters": list(EXPERTS), "target_modules": [], "init_lora_weights": "gaussian"},
}


def in_peft(base: Any, **options: Any) -> Any:
    """peft's LoRA of rank 2 on a copy of the base, its tensors away from their start."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(copy.deepcopy(base), LoraConfig(**{"r": 2, "lora_alpha": 3, **options})).eval()
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("build", MODELS)
def test_import(build: Build, choice: str, tmp_path: Path) -> None:
    """A mixture trained in peft could not be used here, or its experts be swapped."""
    base = build()
    theirs = in_peft(base, **CHOICES[choice])
    theirs.save_pretrained(str(tmp_path))
    model = build()
    (attachment,) = import_peft(model, tmp_path)
    assert attachment.variant.name == "lora"
    assert not near(logits(model), logits(base))
    assert near(logits(model), logits(theirs))
    trained = sum(p.numel() for p in theirs.parameters() if p.requires_grad)
    assert sum(p.numel() for p in attachment.parameters()) == trained


@pytest.mark.parametrize("parameters", [EXPERTS, ("experts.gate_up_proj",), ("model.layers.0.*.down_proj",)])
@pytest.mark.parametrize("include", [(), ("k_proj",)])
@pytest.mark.parametrize("build", MODELS)
def test_export(build: Build, include: tuple[str, ...], parameters: tuple[str, ...], tmp_path: Path) -> None:
    """peft would load another adapter than the one that was exported, and nothing would say so."""
    model = build()
    adapted(model, targets=Targets(include=include, parameters=parameters), rslora=True)
    export_peft(model, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # peft warns of tensors that it does not find
        theirs = PeftModel.from_pretrained(build(), str(tmp_path)).eval()
    assert near(logits(theirs), logits(model))
    assert not near(logits(model), logits(build()))
    again = build()
    import_peft(again, tmp_path)
    assert torch.equal(logits(again), logits(model))


@pytest.mark.parametrize("build", MODELS)
def test_trained_alike(build: Build, tmp_path: Path) -> None:
    """From the same start, on the same batches, it would learn something else than peft."""
    theirs = in_peft(build(), **CHOICES["beside layers"])
    theirs.save_pretrained(str(tmp_path / "start"))
    ours = build()
    import_peft(ours, tmp_path / "start")
    losses: list[list[float]] = [[], []]
    for model, found in zip((ours, theirs), losses, strict=True):
        model.train()
        optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
        for _ in range(5):
            optimiser.zero_grad()
            loss = model(input_ids=IDS, labels=IDS).loss
            loss.backward()
            optimiser.step()
            found.append(float(loss.detach()))
        model.eval()
    assert losses[0][-1] < losses[0][0]
    assert losses[0] == pytest.approx(losses[1], rel=1e-10)
    assert (logits(ours) - logits(theirs)).abs().max() < 1e-8


def test_merged_alike(tmp_path: Path) -> None:
    """peft's merged experts would be others than ours."""
    from variants import merge_and_detach

    theirs = in_peft(mixtral(), **CHOICES["both"])
    theirs.save_pretrained(str(tmp_path))
    ours = mixtral()
    import_peft(ours, tmp_path)
    merged = theirs.merge_and_unload().state_dict()
    for key, tensor in merge_and_detach(ours).state_dict().items():
        assert (tensor - merged[key]).abs().max() <= NEAR, key


def test_an_adapter_that_starts_is_peft_s(tmp_path: Path) -> None:
    """A fresh adapter would start from another distribution than peft's on the same parameter."""
    theirs = get_peft_model(mixtral(), LoraConfig(r=2, **CHOICES["both"]))
    ours = attach(mixtral(), LoRAConfig(r=2, targets=Targets(parameters=EXPERTS)))
    bounds = []
    for tensors in (theirs.state_dict(), {f"{key}.": t for key, t in ours.tensors().items()}):
        A = torch.cat(
            [t.double().reshape(-1) for key, t in tensors.items() if ".A." in key or "lora_A" in key]
        ).detach()
        B = [t for key, t in tensors.items() if ".B." in key or "lora_B" in key]
        assert len(B) == 4
        assert not any(bool(t.any()) for t in B)
        bounds.append((float(A.abs().max()), float(A.std())))
    assert bounds[0] == pytest.approx(bounds[1], rel=0.1)


REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"target_parameters": ["experts.nothing"]}, r"target_parameters \['experts.nothing'\]"),
    ({"target_parameters": ["gate.weight"]}, "gate.weight, a parameter of 2 dimensions"),
    ({"target_parameters": "experts"}, "want a list of names"),
    ({"lora_dropout": 0.1}, "want dropout=0"),
    ({"init_lora_weights": "pissa"}, "got pissa on gate_up_proj"),
    ({"use_dora": True}, "got dora on gate_up_proj"),
    ({"r": 3}, "lora_A"),
)


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_what_cannot_be_imported(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    """A file that means something else would be taken for what is known here."""
    in_peft(mixtral(), **CHOICES["both"]).save_pretrained(str(tmp_path))
    change_fields(tmp_path, **fields)
    model = mixtral()
    with refused(model, message):
        import_peft(model, tmp_path)


def test_the_names_are_short_where_they_can_be(tmp_path: Path) -> None:
    """A config of a large model would list every expert of every block."""
    model = mixtral()
    adapted(model)
    export_peft(model, tmp_path)
    fields = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert fields["target_parameters"] == sorted(EXPERTS)
    assert fields["target_modules"] == []
