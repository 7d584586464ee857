"""Adapters on experts: weights that are stacked in one parameter, which their module indexes and hands to no layer."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor, nn

from tests.runtime.models import IDS, refused, small_config, snapshot
from variants import (
    VARIANTS,
    LoRAConfig,
    Targets,
    attach,
    attachments,
    detach,
    load,
    merge,
    merge_and_detach,
    save,
    unmerge,
)
from variants.registry import ON_STACKS
from variants.runtime.state import Attachment

EXPERTS = ("experts.gate_up_proj", "experts.down_proj")
SIZES: dict[str, Any] = {"vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 24}
HEADS: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4}
NEAR = 1e-12


def mixtral(**options: Any) -> Any:
    """Two blocks with four experts each, in float64: experts one after the other, as float64 asks for."""
    torch.manual_seed(0)
    config = hf.MixtralConfig(**SIZES, **HEADS, **{"experts_implementation": "eager", **options})
    return hf.MixtralForCausalLM(config).double().eval()


def gpt_oss() -> Any:
    """Likewise, with experts that are stored transposed and have biases."""
    torch.manual_seed(0)
    config = hf.GptOssConfig(**SIZES, **HEADS, head_dim=4, experts_implementation="eager")
    return hf.GptOssForCausalLM(config).double().eval()


MODELS = (mixtral, gpt_oss)
Build = Callable[[], Any]


def adapted(model: nn.Module, **options: Any) -> Attachment:
    """With an adapter on all experts whose tensors are away from their start."""
    targets = Targets(parameters=EXPERTS)
    attachment = attach(model, LoRAConfig(**{"r": 2, "alpha": 3.0, "targets": targets, "dtype": "float64", **options}))
    with torch.no_grad():
        for parameter in attachment.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return attachment


def logits(model: Any) -> Tensor:
    """On two fixed sentences."""
    with torch.no_grad():
        found: Tensor = model(input_ids=IDS).logits
    return found


def near(got: Tensor, want: Tensor) -> bool:
    """Equal but for rounding."""
    return bool((got - want).abs().max() <= NEAR * want.abs().max())


@pytest.mark.parametrize("build", MODELS)
def test_it_is_the_formula(build: Build) -> None:
    """Each expert would have another update than its own B A, or a transposed one."""
    model, plain = build(), build()
    attachment = adapted(model)
    for name, adapter in attachment.layers.items():
        weight = plain.get_parameter(name)
        for e in range(4):
            update: Any = 1.5 * adapter.B[e].detach() @ adapter.A[e].detach()  # type: ignore[index]
            weight.data[e] += update.T if build is gpt_oss else update
    assert not near(logits(model), logits(build()))
    assert near(logits(model), logits(plain))


@pytest.mark.parametrize("build", MODELS)
def test_it_starts_at_the_base_and_detach_gives_it_back(build: Build) -> None:
    """An adapter on experts would change a model before it is trained, or after it is gone."""
    model = build()
    before, want = snapshot(model), logits(model)
    attachment = attach(model, LoRAConfig(r=2, targets=Targets(parameters=EXPERTS)), sample={"input_ids": IDS})
    assert len(attachment.layers) == 4
    assert torch.equal(logits(model), want)
    detach(model)
    assert snapshot(model) == before


def test_every_expert_that_is_used_learns() -> None:
    """B would get no gradient, or the base one; A and B of the same sizes would start alike in every expert."""
    model = mixtral().train()
    attachment = attach(model, LoRAConfig(r=2, dtype="float64", targets=Targets(parameters=EXPERTS)))
    A: Any = next(iter(attachment.layers.values())).A
    bound = 1 / 16**0.5
    assert 0.8 * bound < A.abs().max() <= bound
    assert all(not torch.equal(A[0], A[e]) for e in range(1, 4))
    optimiser = torch.optim.Adam(attachment.parameters(), lr=0.02)
    losses = []
    for _ in range(4):
        optimiser.zero_grad()
        loss = model(input_ids=IDS, labels=IDS).loss
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert all(p.grad is not None and bool(p.grad.any()) for p in attachment.parameters())
    base = mixtral().state_dict()
    state = model.state_dict()
    assert all(torch.equal(state[key], tensor) for key, tensor in base.items())


@pytest.mark.parametrize("build", MODELS)
def test_saved_copied_and_merged(build: Build, tmp_path: Path) -> None:
    """What was trained on experts would be lost, or act twice, or leave something behind."""
    model = build()
    adapted(model)
    want = logits(model)
    save(model, tmp_path / "adapter")
    fresh = build()
    load(fresh, tmp_path / "adapter")
    assert torch.equal(logits(fresh), want)
    assert torch.equal(logits(copy.deepcopy(model)), want)
    assert torch.equal(logits(pickle.loads(pickle.dumps(model))), want)
    merge(model)
    assert near(logits(model), want)
    assert model.state_dict().keys() == build().state_dict().keys()
    unmerge(model)
    assert torch.equal(logits(model), want)
    merge_and_detach(model)
    assert near(logits(model), want)
    plain = build()
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert [name for name, _ in model.named_modules()] == [name for name, _ in plain.named_modules()]
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in plain.named_parameters()]


def test_another_base_is_refused(tmp_path: Path) -> None:
    """An adapter would be loaded beside other experts than it was trained with."""
    model = mixtral()
    adapted(model)
    save(model, tmp_path / "adapter")
    other = mixtral()
    other.model.layers[1].mlp.experts.down_proj.data[3, 0, 0] += 1e-9
    with refused(
        other, r"1 of 4 layers have other weights, first model.layers.1.mlp.experts.down_proj: .*float64 4x16x24"
    ):
        load(other, tmp_path / "adapter")


@pytest.mark.parametrize("way", ["eager", "batched_mm", "grouped_mm"])
def test_every_way_that_transformers_computes_experts(way: str) -> None:
    """The fast ways read the whole parameter: they could miss the adapter."""
    model, eager = (mixtral(experts_implementation=each).float() for each in (way, "eager"))
    for each in (model, eager):
        torch.manual_seed(1)
        adapted(each, dtype="float32")
    assert (logits(model) - logits(eager)).abs().max() < 1e-6
    grads = []
    for each in (model, eager):
        each.train()(input_ids=IDS, labels=IDS).loss.backward()
        grads.append(torch.cat([p.grad.reshape(-1) for p in each.parameters() if p.requires_grad]))
    assert (grads[0] - grads[1]).abs().max() < 1e-6


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_and_compiled(reentrant: bool) -> None:
    """The weights of the recomputation, or of compiled code, would be the base's."""
    model = mixtral().train()
    adapted(model)
    want = logits(model)
    model(input_ids=IDS, labels=IDS).loss.backward()
    grads = [p.grad.clone() for p in model.parameters() if p.requires_grad]
    model.zero_grad()
    assert torch.equal(logits(torch.compile(model, backend="eager")), want)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    model(input_ids=IDS, labels=IDS).loss.backward()
    for grad, p in zip(grads, (p for p in model.parameters() if p.requires_grad), strict=True):
        assert near(p.grad, grad)


def test_a_forward_that_fails_leaves_the_parameter() -> None:
    """After an error in the middle, the base's experts would be the adapted ones for good."""
    model = mixtral()
    attachment = adapted(model)
    experts = model.model.layers[0].mlp.experts
    stored = experts.gate_up_proj
    with pytest.raises(TypeError):
        experts(torch.ones(2, 16).double())
    assert experts.gate_up_proj is stored
    assert attachment.layers.keys() == {f"model.layers.{n}.mlp.{name}" for n in (0, 1) for name in EXPERTS}


def test_a_half_precision_base(tmp_path: Path) -> None:
    """Tensors would be rounded to the base's dtype, or autocast would round its experts."""
    model = mixtral(experts_implementation="grouped_mm").bfloat16()
    attachment = adapted(model, dtype="float32")
    assert all(p.dtype is torch.float32 for p in attachment.parameters())
    want = logits(model)
    merge(model)
    assert torch.equal(logits(model), want)
    unmerge(model)
    model(input_ids=IDS, labels=IDS).loss.backward()
    assert all(p.grad is not None for p in attachment.parameters())
    wide, plain = mixtral().float(), mixtral().float()
    adapted(wide, dtype="float32")
    merge(wide)
    plain.load_state_dict(wide.state_dict())
    unmerge(wide)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(logits(wide), logits(plain))


@pytest.mark.parametrize("name", [v.name for v in VARIANTS if v not in ON_STACKS])
def test_methods_without_a_form_for_experts_refuse(name: str) -> None:
    """They would decompose, or read, a block of matrices as one."""
    model = mixtral()
    with refused(model, rf"got {name} on down_proj, a parameter of 4 stacked weights; want .* lora"):
        attach(model, small_config(name, Targets(parameters=("experts.down_proj",))))


WRONG = (
    ({"targets": Targets(parameters=("experts.up",))}, r"parameter of three dimensions \(model.layers.0.mlp.experts"),
    ({"targets": Targets(parameters=("lm_head.weight",))}, "patterns that match a parameter of three dimensions"),
    ({"targets": Targets(parameters=EXPERTS), "dropout": 0.1}, "want dropout=0"),
    ({"targets": Targets(parameters=EXPERTS, layers=(5,))}, "numbers of the 2 numbered blocks"),
)


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    """A wrong name would train nothing, and dropout would be left out without a word."""
    model = mixtral()
    with refused(model, message):
        attach(model, LoRAConfig(r=2, **options))


def test_names_choose_as_for_layers() -> None:
    """Layers would get adapters that nobody asked for, or the report be silent about experts that got none."""
    model = mixtral()
    plain = attach(model, LoRAConfig(r=2))
    assert all("proj" in name and "experts" not in name for name in plain.layers)
    assert "MixtralExperts (stacked in one parameter: a target by Targets(parameters=...) alone)" in plain.report
    detach(model)
    chosen = Targets(include=("q_proj",), parameters=("experts.*",), exclude=("gate_up_proj",), layers=(-1,))
    attachment = attach(model, LoRAConfig(r=2, targets=chosen))
    assert list(attachment.layers) == ["model.layers.1.self_attn.q_proj", "model.layers.1.mlp.experts.down_proj"]
    other = attach(model, LoRAConfig(r=2, targets=Targets(parameters=("gate_up_proj",))), name="other")
    assert len(other.layers) == 2
    detach(model, "other")
    assert list(attachments(model)) == ["lora"]
    assert [n for n, _ in model.named_modules() if "adapted" in n and "adapter" not in n] == [
        "model.layers.1.mlp.experts.adapted_down_proj"
    ]


def test_a_whole_model_is_saved_as_the_base_was(tmp_path: Path) -> None:
    """transformers splits experts when it saves; with adapters among them it could write others, or fail."""
    model = mixtral().float()
    base = logits(model)
    adapted(model, dtype="float32")
    want = logits(model)
    model.save_pretrained(tmp_path / "with")
    assert (logits(hf.MixtralForCausalLM.from_pretrained(tmp_path / "with").eval()) - base).abs().max() < 1e-6
    merge(model)
    model.save_pretrained(tmp_path / "merged")
    assert (logits(hf.MixtralForCausalLM.from_pretrained(tmp_path / "merged").eval()) - want).abs().max() < 1e-6
