"""Which layers are adapted: by name, by role, by block."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers as hf
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.runtime.models import LANGUAGE_MODELS, SIZES, Mlp, Quantised, bert, gpt2, llama, neox, qwen3
from variants import AdapterError, IA3Config, Targets, attach
from variants.runtime.targets import role_of


def tree(*names: str) -> nn.Module:
    """A module with a linear layer at each of these dotted names."""
    root = nn.Module()
    for name in names:
        module = root
        *parents, last = name.split(".")
        for parent in parents:
            if parent not in module._modules:
                module.add_module(parent, nn.Module())
            module = module.get_submodule(parent)
        module.add_module(last, nn.Linear(2, 2))
    return root


def last_names(found: dict[str, nn.Module]) -> set[str]:
    """The last parts of the names."""
    return {name.rpartition(".")[2] for name in found}


@pytest.mark.parametrize(
    ("pattern", "want"),
    [
        ("q", {"a.q", "b.a.q"}),
        ("a.q", {"a.q", "b.a.q"}),
        ("b.a.q", {"b.a.q"}),
        ("b.*", {"b.a.q", "b.aXq"}),
        ("a?q", {"a.q", "b.a.q", "b.aXq"}),
        ("*", {"a.q", "b.a.q", "b.aXq", "w[0]", "x+"}),
        ("w[0]", {"w[0]"}),
        ("x+", {"x+"}),
    ],
)
def test_patterns(pattern: str, want: set[str]) -> None:
    """Otherwise a pattern would adapt layers that its plain reading does not name."""
    assert set(Targets(include=pattern).find(tree("a.q", "b.a.q", "b.aXq", "w[0]", "x+"))) == want  # type: ignore[arg-type]


@pytest.mark.parametrize("pattern", ["A.q", "a.q$", "^a.q", "(a.q|x+)", ".q", "q.", r"a\.q", "[ab].q", "w[!1]"])
def test_regex_characters_are_literal(pattern: str) -> None:
    """Otherwise a name would be read as a regular expression, or half a part of a name would match."""
    with pytest.raises(AdapterError, match="no target"):
        Targets(include=(pattern,)).find(tree("a.q", "b.a.q", "b.aXq", "w[0]", "x+"))


@given(
    st.text(st.characters(exclude_characters=".*?"), min_size=1),
    st.text(st.characters(exclude_characters="."), min_size=1),
)
def test_every_name_without_wildcards_matches_only_itself(name: str, other: str) -> None:
    """Otherwise some character in a name would mean something."""
    names = {name, other} - set(dir(nn.Module()))
    if name in names:
        assert set(Targets(include=(name,)).find(tree(*sorted(names)))) == {name}


def test_exclude_wins_over_include() -> None:
    """Otherwise a layer that the user left out by name would be adapted."""
    found = Targets(include=("q_proj", "k_proj"), exclude=("layers.0.*",)).find(llama())
    assert set(found) == {"model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.k_proj"}


@pytest.mark.parametrize("build", LANGUAGE_MODELS)
def test_default_is_every_linear_layer_but_the_head(build: Callable[[], Any]) -> None:
    """Otherwise the output head would be adapted by default, or a projection left out."""
    model = build()
    linear = {name for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    head = {name for name, m in model.named_modules() if m is model.get_output_embeddings()}
    assert set(Targets().find(model)) == linear - head


def test_head_can_be_asked_for() -> None:
    """Otherwise naming the output head would do nothing."""
    assert set(Targets(include=("lm_head",)).find(qwen3())) == {"lm_head"}


def test_conv1d() -> None:
    """Otherwise GPT-2 would be adapted on nothing, or its layers' roles be told from transposed shapes."""
    assert last_names(Targets().find(gpt2())) == {"c_attn", "c_proj", "c_fc"}
    assert last_names(Targets(roles=("reader",)).find(gpt2())) == {"c_attn", "c_fc"}
    assert last_names(Targets(roles=("writer",)).find(gpt2())) == {"c_proj"}


@pytest.mark.parametrize("build", [llama, qwen3])
@pytest.mark.parametrize("with_config", [True, False])
def test_roles_of_llama(build: Callable[[], Any], with_config: bool) -> None:
    """Otherwise readers and writers of the residual stream would be mixed up, or need config.hidden_size."""
    model = build() if with_config else build().model.layers
    readers, writers = (last_names(Targets(roles=role).find(model)) for role in ("reader", "writer"))  # type: ignore[arg-type]
    assert readers == {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"}
    assert writers == {"o_proj", "down_proj"}


def test_roles_do_not_depend_on_the_other_conditions() -> None:
    """Otherwise the width would be guessed from the named layers alone, and 6 -> 10 -> 6 taken for 10 wide."""
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), Mlp())
    assert set(Targets(include=("down",), roles=("writer",)).find(model)) == {"2.down"}
    assert set(Targets(roles=("reader",)).find(Mlp())) == {"up"}


@pytest.mark.parametrize(("build", "unknown"), [(bert, "pooler.dense"), (neox, None)])
def test_roles_of_models_that_call_everything_dense(build: Callable[[], Any], unknown: str | None) -> None:
    """Otherwise square layers of BERT or GPT-NeoX would fail, be guessed at, or be left out in silence."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        writers = set(attach(build(), IA3Config(targets=Targets(roles=("writer",)))).layers)
    assert all(
        name.endswith(("attention.output.dense", "output.dense", "attention.dense", "4h_to_h")) for name in writers
    )
    assert len(writers) == 4
    assert [str(w.message).split(":")[0].split(" ")[-1] for w in caught] == ([unknown] if unknown else [])
    assert all(w.filename == __file__ for w in caught)


@pytest.mark.parametrize(
    ("name", "shape", "width", "role"),
    [
        ("attention.self.query", (8, 8), 8, "reader"),
        ("attention.output.dense", (8, 8), 8, "writer"),
        ("pooler.dense", (8, 8), 8, None),
        ("mystery", (8, 8), None, None),
        ("mystery", (8, 9), 8, "reader"),
        ("mystery", (9, 8), 8, "writer"),
        ("q_proj", (9, 9), 8, "inner"),
    ],
)
def test_role_of(name: str, shape: tuple[int, int], width: int | None, role: str | None) -> None:
    """Otherwise a role would come from the name where the shape tells, or be made up where nothing does."""
    assert role_of(name, nn.Linear(*shape), width) == role


@pytest.mark.parametrize(
    ("layers", "blocks"), [(0, {"0"}), (-1, {"1"}), (-2, {"0"}), ((0, -1), {"0", "1"}), ([1, -1], {"1"})]
)
def test_layer_choice(layers: Any, blocks: set[str]) -> None:
    """Otherwise adapters would sit on other blocks than the ones asked for."""
    found = Targets(layers=layers).find(llama())
    assert {name.split(".")[2] for name in found} == blocks
    assert len(found) == 7 * len(blocks)


@pytest.mark.parametrize("layers", [2, -3, (0, 7)])
def test_layer_out_of_range_is_refused(layers: Any) -> None:
    """Otherwise a block that does not exist would be left out in silence, or wrap around."""
    with pytest.raises(AdapterError, match=r"Targets\.layers: got .*2 numbered blocks"):
        Targets(layers=layers).find(llama())


@pytest.mark.parametrize(
    "options",
    [
        {"include": ("",)},
        {"include": None},
        {"exclude": (1,)},
        {"roles": "raeder"},
        {"layers": True},
        {"layers": "3"},
        {"layers": 1.5},
        {"layers": (None,)},
    ],
)
def test_bad_choice_is_refused(options: dict[str, Any]) -> None:
    """Otherwise a condition that means nothing would silently choose everything, or nothing."""
    with pytest.raises(AdapterError, match=rf"Targets\.{next(iter(options))}: got"):
        Targets(**options)


def test_unused_projection_of_multihead_attention() -> None:
    """Otherwise an adapter would sit on a layer whose forward is never called, and train nothing."""
    model = nn.TransformerEncoderLayer(8, 2, 16)
    assert set(Targets().find(model)) == {"linear1", "linear2"}
    for include in ("out_proj", "*"):
        with pytest.raises(AdapterError, match=r"self_attn\.out_proj, the output projection of nn\.MultiheadAttention"):
            Targets(include=(include,)).find(model)
    assert set(Targets(include=("*",), exclude=("out_proj",)).find(model)) == {"linear1", "linear2"}


def test_adapter_acts_on_the_fast_path_of_the_transformer_layer() -> None:
    """Otherwise torch's fused inference path would step around the adapter in eval()."""
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    x = torch.randn(1, 3, 8)
    with torch.no_grad():
        before = model(x)
        for gate in attach(model, IA3Config(targets=Targets(include=("linear1",)))).parameters():
            gate.fill_(2)
        assert not torch.allclose(model(x), before)


def test_shared_module_is_one_target() -> None:
    """Otherwise a module that stands twice in a model would get two adapters, or clash with itself."""
    layer = nn.Linear(2, 2)
    assert list(Targets().find(nn.Sequential(layer, nn.ReLU(), layer))) == ["0"]


def test_linear_like_is_told_by_its_attributes() -> None:
    """Otherwise quantised layers of other libraries would not be found."""
    assert set(Targets().find(nn.ModuleDict({"a": Quantised(3, 4), "b": nn.Embedding(3, 4)}))) == {"a"}


def test_classification_model_has_no_output_embeddings() -> None:
    """Otherwise the default (leave out only the head that get_output_embeddings names) would have changed."""
    model = hf.BertForSequenceClassification(hf.BertConfig(**SIZES, num_attention_heads=2))
    found = Targets().find(model)
    assert "classifier" in found
