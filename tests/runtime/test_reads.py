"""Layers that a model reads without calling them: no adapter acts there, and the handle says so."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers as hf
from torch import Tensor, nn

from tests.runtime.models import IDS, NAMES, Mlp, bert, gpt2, llama, move, neox, qwen3, refused, small_config
from tests.runtime.repacking import stack
from variants import Attachment, LoRAConfig, PiSSAConfig, Targets, attach, by_name, detach, load, merge, save
from variants.runtime.adapter import Adapter
from variants.runtime.layers.reads import read_by_source, read_in

SMALL: dict[str, Any] = {"vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2}
REPLACING = [name for name in NAMES if by_name(name).residual is not Adapter.residual]


def mamba() -> nn.Module:
    """Reads ``dt_proj.weight``; with kernels on a GPU ``x_proj`` and ``out_proj``, too."""
    return hf.MambaForCausalLM(hf.MambaConfig(**SMALL, state_size=4)).eval()


def falcon_mamba() -> nn.Module:
    """The same with norms in between."""
    return hf.FalconMambaForCausalLM(hf.FalconMambaConfig(**SMALL, state_size=4)).eval()


def jamba() -> nn.Module:
    """Reads ``dt_proj.weight``, or calls ``dt_proj`` where it is quantised."""
    sizes: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 24}
    sizes |= {"num_experts": 2, "mamba_d_state": 4, "mamba_dt_rank": 2, "attn_layer_offset": 1, "attn_layer_period": 2}
    return hf.JambaForCausalLM(hf.JambaConfig(**SMALL, **sizes, use_mamba_kernels=False, pad_token_id=0)).eval()


class Reader(nn.Module):
    """``called`` is called, ``read`` is read, ``both`` is one or the other, ``told`` is asked for its dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.called, self.read, self.both, self.told = (nn.Linear(6, 6) for _ in range(4))
        self.fused = False
        nn.init.normal_(self.called.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Some of each."""
        x = self.called(x) + self._through(x)
        x = F.linear(x, self.both.weight) if self.fused else self.both(x)
        y: Tensor = self.told(x.to(self.told.weight.dtype))
        return y

    def _through(self, x: Tensor) -> Tensor:
        return x @ self.read.weight.T


class Hidden(Reader):
    """Reads by a computed name, which no source shows."""

    def _through(self, x: Tensor) -> Tensor:
        return x @ getattr(self, "re" + "ad").weight.T


def told(model: nn.Module, config: Any) -> Attachment:
    """``attach``, which has to warn of what it cannot tell from the source."""
    with pytest.warns(UserWarning, match=r"left out .* Pass attach\(\.\.\., sample=batch\)"):
        return attach(model, config)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("build", [mamba, falcon_mamba, jamba])
def test_a_layer_that_is_only_read_gets_no_adapter(build: Any, name: str) -> None:
    """Otherwise PiSSA would start away from the base, and every other method train tensors without a gradient."""
    model = build()
    before = model(input_ids=IDS).logits
    attachment = told(model, small_config(name))
    assert not [layer for layer in attachment.layers if layer.endswith("dt_proj")]
    assert [layer for layer in attachment.left if layer.endswith("dt_proj")]
    assert ".forward reads its weight" in repr(attachment)
    start_off = {"antipasto_rot": 5e-3, "antipasto_ablate": 5e-2}.get(name, 1e-5)
    torch.testing.assert_close(model(input_ids=IDS).logits, before, rtol=0, atol=start_off)
    move(model)
    model(input_ids=IDS).logits.square().sum().backward()
    assert all(p.grad is not None for p in attachment.parameters())
    moved = model(input_ids=IDS).logits
    merge(model)
    torch.testing.assert_close(model(input_ids=IDS).logits, moved, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["lora", "pissa"])
def test_a_sample_decides(name: str) -> None:
    """Otherwise Mamba's other projections, which are only read by kernels on a GPU, could not be adapted on a CPU."""
    model = mamba()
    attachment = attach(model, small_config(name), sample={"input_ids": IDS})
    assert {layer.rpartition(".")[2] for layer in attachment.layers} == {"in_proj", "x_proj", "out_proj"}
    assert {layer.rpartition(".")[2] for layer in attachment.left} == {"dt_proj"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sample", [None, torch.ones(2, 6)])
def test_a_layer_that_is_read_is_refused_where_it_is_named(sample: Any, name: str) -> None:
    """Otherwise a user who asks for that layer would get an adapter that does nothing, or a base that is wrong."""
    model = Reader()
    with refused(model, rf"attach {name} to read: got .*reads its weight and never calls it"):
        attach(model, small_config(name, Targets(include=("read",))), sample=sample)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", ["lora", *REPLACING])
def test_a_layer_that_may_be_read(name: str, fused: bool) -> None:
    """Otherwise an adapter would do nothing on one path, and merging it change the output there, without a word."""
    model = Reader()
    model.fused = fused
    assert told(model, small_config(name)).layers.keys() == {"called", "told"}
    detach(model)
    shown = attach(model, small_config(name), sample=torch.ones(2, 6))
    assert set(shown.layers) == ({"called", "told"} if fused else {"called", "told", "both"})
    assert not shown.notes


@pytest.mark.parametrize("name", ["lora", "pissa"])
def test_a_layer_that_may_be_read_by_name(name: str) -> None:
    """Otherwise a layer that the user names would be left out, or its weight be replaced where it may be read."""
    model, config = Reader(), small_config(name, Targets(include=("both",)))
    if name == "pissa":
        with refused(model, r"reads its weight on one path.* show one with sample=batch"):
            attach(model, config)
        attach(model, config, sample=torch.ones(2, 6))
    else:
        assert "acts where it is called" in attach(model, config).notes["both"]


def test_a_sample_sees_what_no_source_shows() -> None:
    """Otherwise a model that finds its layers by computed names could not be adapted rightly at all."""
    model = Hidden()
    assert "read" in told(model, PiSSAConfig(r=2)).layers
    detach(model)
    before = model(torch.ones(2, 6))
    attachment = attach(model, PiSSAConfig(r=2), sample=torch.ones(2, 6))
    assert "read" in attachment.left
    torch.testing.assert_close(model(torch.ones(2, 6)), before)


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_a_sample_of_a_quantised_model(kind: str) -> None:
    """What attach itself looks up around the run would count as the model's reading: every layer would be left out."""
    model = stack(kind)
    attached = attach(model, LoRAConfig(r=2), sample=torch.zeros(2, 128))
    assert set(attached.layers) == {"0", "2"}
    assert not attached.left


def test_without_a_sample_nothing_is_run() -> None:
    """Otherwise attach would call a user's model behind their back."""
    model = Reader()
    model.register_forward_pre_hook(lambda *_: pytest.fail("the model was called"))
    assert told(model, LoRAConfig()).layers


def test_a_sample_leaves_the_model_as_it_was() -> None:
    """Otherwise looking at a model would leave hooks, another mode, or gradients."""
    model = Reader()
    model.called.eval()
    with refused(model, "attach lora to read"):
        attach(model, small_config("lora", Targets(include=("read",))), sample=torch.ones(2, 6))
    with refused(model, "sample batch 0: got RuntimeError"):
        attach(model, small_config("lora"), sample=torch.ones(2, 7))


def test_a_sample_leaves_random_states_and_statistics() -> None:
    """Otherwise looking at a model would change its running statistics, or the random start of the adapter."""
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 6))
    before = copy.deepcopy(model.state_dict())
    starts = []
    for sample in (None, torch.randn(4, 6)):
        torch.manual_seed(3)
        starts.append(attach(model, LoRAConfig(r=2), sample=sample).layers["3"].A)
        detach(model)
    assert torch.equal(*starts)
    assert all(torch.equal(t, before[key]) for key, t in model.state_dict().items())


class InTraining(Reader):
    """Calls its layer in evaluation, and reads its weight in training."""

    def _through(self, x: Tensor) -> Tensor:
        return x @ self.read.weight.T if self.training else self.read(x)


def test_a_sample_is_run_in_both_modes() -> None:
    """Otherwise a layer that is only read while training would get an adapter that never trains."""
    assert "read" in attach(InTraining(), LoRAConfig(r=2), sample=torch.ones(2, 6)).left


def test_a_layer_that_the_sample_does_not_reach_keeps_its_adapter() -> None:
    """Otherwise experts to which no token of the sample goes would have none."""
    model = Mlp()
    model.add_module("idle", nn.Linear(6, 6))
    attachment = attach(model, LoRAConfig(r=2), sample=torch.ones(2, 6))
    assert "idle" in attachment.layers
    assert attachment.notes == {"idle": "the sample does not call it"}


@pytest.mark.parametrize("build", [llama, qwen3, bert, neox, gpt2])
def test_models_that_call_all_their_layers(build: Any) -> None:
    """Otherwise layers that ask a weight for its dtype, or initialise it, would be taken for read ones."""
    model = build()
    targets = Targets().find(model)
    assert read_by_source(model, targets) == {}
    assert read_in(model, targets, {"input_ids": IDS}) == {}


@pytest.mark.parametrize(
    ("build", "batch"),
    [(mamba, {"input_ids": IDS}), (jamba, {"input_ids": IDS}), (Reader, torch.ones(2, 6))],
)
def test_the_source_tells_of_every_layer_that_a_run_finds(build: Any, batch: Any) -> None:
    """Otherwise the default, which runs nothing, would miss what a run shows."""
    model = build()
    targets = Targets().find(model)
    found = {name for name, read in read_in(model, targets, batch).items() if read.where}
    assert found
    assert found <= read_by_source(model, targets).keys()


def test_a_file_keeps_what_was_left_out(tmp_path: Any) -> None:
    """Otherwise what a sample has shown could not be loaded again without it."""
    model = Hidden()
    fresh = copy.deepcopy(model)
    attach(model, LoRAConfig(r=2), sample=torch.ones(2, 6))
    move(model)
    save(model, tmp_path / "a.safetensors")
    loaded = load(fresh, tmp_path / "a.safetensors")
    assert "read" in loaded.left
    assert torch.equal(fresh(torch.ones(2, 6)), model(torch.ones(2, 6)))
