"""Options and initial values: bad ones are refused where they are given, good ones survive a file."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.runtime.models import NAMES, small_config
from variants import AdapterError, HRAConfig, IA3Config, LoRAConfig, Targets, config_for
from variants.runtime.config import AdapterConfig
from variants.runtime.spec import TensorSpec

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "options", "field"),
    [
        ("lora", {"r": 0}, "r"),
        ("lora", {"r": True}, "r"),
        ("lora", {"r": 2.0}, "r"),
        ("dora", {"r": -1}, "r"),
        ("hra", {"r": 3}, "r"),
        ("hra", {"r": 4, "gram_schmidt": 1}, "gram_schmidt"),
        ("lora", {"alpha": float("nan")}, "alpha"),
        ("lora", {"alpha": True}, "alpha"),
        ("lora", {"dropout": 1.0}, "dropout"),
        ("lora", {"dropout": -0.1}, "dropout"),
        ("lora", {"rslora": "yes"}, "rslora"),
        ("dora", {"init": "orthogonal"}, "init"),
        ("ia3", {"dtype": "float8"}, "dtype"),
        ("ia3", {"dtype": torch.int32}, "dtype"),
        ("ia3_ff", {"targets": "q_proj"}, "targets"),
    ],
)
def test_bad_option_is_refused_by_name(name: str, options: dict[str, Any], field: str) -> None:
    """Otherwise an option that means nothing would silently do nothing, or fail far from where it was given."""
    with pytest.raises(AdapterError, match=rf"Config\.{field}: got .*; want .*\."):
        config_for(name, **options)


def test_unknown_option_lists_the_known_ones() -> None:
    """Otherwise a misspelt option would be a bare TypeError that does not say what is offered."""
    with pytest.raises(AdapterError, match=r"LoRAConfig: got the option rank; want .*alpha.* Did you mean r\?"):
        config_for("lora", rank=4)


def test_unknown_variant_lists_the_known_ones() -> None:
    """Otherwise a misspelt variant would not say which ones there are."""
    with pytest.raises(AdapterError, match="'laura'; want one of lora, dora"):
        config_for("laura")


def test_odd_rank_is_allowed_with_gram_schmidt() -> None:
    """Otherwise the pairing rule would bind the form of HRA that has no pairs."""
    assert HRAConfig(r=3, gram_schmidt=True).r == 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, "bfloat16"])
def test_dtype_by_object_or_by_name(dtype: Any) -> None:
    """Otherwise the two spellings of one dtype would make configs that differ."""
    assert IA3Config(dtype=dtype) == IA3Config(dtype="bfloat16")
    assert IA3Config(dtype=dtype).torch_dtype is torch.bfloat16


TARGETS = st.builds(
    Targets,
    include=st.lists(st.text(min_size=1), max_size=3),
    exclude=st.lists(st.text(min_size=1), max_size=3),
    roles=st.lists(st.sampled_from(("reader", "writer", "inner")), max_size=3),
    layers=st.none() | st.lists(st.integers(-5, 5), max_size=3),
)
CONFIGS = st.one_of(
    st.builds(
        LoRAConfig,
        targets=TARGETS,
        r=st.integers(1, 999),
        alpha=st.floats(allow_nan=False, allow_infinity=False),
        dropout=st.floats(0, 1, exclude_max=True),
        rslora=st.booleans(),
        init=st.sampled_from(("kaiming", "gaussian")),
        dtype=st.sampled_from(("float32", "float64", "bfloat16", "float16")),
    ),
    st.builds(IA3Config, targets=TARGETS),
    st.builds(HRAConfig, targets=TARGETS, r=st.integers(1, 99).map(lambda n: 2 * n), gram_schmidt=st.booleans()),
)


@given(CONFIGS)
def test_config_survives_json(config: AdapterConfig) -> None:
    """Otherwise an adapter would come back from its file with other options or targets than it was trained with."""
    assert type(config).from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize("name", NAMES)
def test_unknown_field_in_json_is_refused(name: str) -> None:
    """Otherwise an option written by a newer version would be dropped without a word."""
    config = small_config(name)
    with pytest.raises(AdapterError, match=r"unknown field.*lora_plus"):
        type(config).from_json({**config.to_json(), "lora_plus": 16})


def made(initial: Any, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The initial value of a tensor on a layer 40 -> 50."""
    return TensorSpec(shape, initial).make(nn.Linear(40, 50), dtype, CPU)


@pytest.mark.parametrize(("mode", "middle"), [("zeros", 0.0), ("ones", 1.0)])
def test_exact_modes(mode: str, middle: float) -> None:
    """Otherwise an adapter would not start at the identity exactly."""
    assert torch.equal(made(mode, 7, 5), torch.full((7, 5), middle))


@pytest.mark.parametrize(("mode", "middle"), [("near_zero", 0.0), ("near_one", 1.0)])
def test_near_modes_have_a_spread_of_1e_4(mode: str, middle: float) -> None:
    """Otherwise the noise would be missing, or of a size other than documented."""
    value = made(mode, 100, 100, dtype=torch.float64) - middle
    assert abs(value.mean().item()) < 5e-6
    assert value.std().item() == pytest.approx(1e-4, rel=0.05)


def test_near_one_is_exactly_one_in_bfloat16() -> None:
    """Otherwise the documented trap (a spacing of 2**-7 at 1) would have gone and its warning should go too."""
    assert torch.equal(made("near_one", 100, dtype=torch.bfloat16), torch.ones(100, dtype=torch.bfloat16))


def test_kaiming_is_bounded_by_the_second_dimension() -> None:
    """Otherwise the fan-in would be taken from the rank, and A would start too large by sqrt(d_in / r)."""
    value = made("kaiming", 200, 25)
    assert 0.19 < value.abs().max().item() <= 0.2
    assert value.std().item() == pytest.approx(0.2 / 3**0.5, rel=0.05)


def test_unknown_mode_is_refused() -> None:
    """Otherwise a misspelt mode would fail only when somebody attaches."""
    with pytest.raises(AdapterError, match="'zeroes'; want one of zeros, near_zero"):
        TensorSpec((3,), "zeroes")


def test_callable_gets_shape_and_layer() -> None:
    """Otherwise an initial value could not depend on the base weight, as DoRA's magnitude does."""
    layer = nn.Linear(4, 3)
    spec = TensorSpec((3,), lambda shape, of: of.get_parameter("weight")[:, 0].reshape(shape))
    assert torch.equal(spec.make(layer, torch.float32, CPU), layer.weight.detach()[:, 0])


@pytest.mark.parametrize(
    ("value", "got"), [(torch.zeros(4), r"shape \(4,\)"), (torch.tensor(0.0), r"\(\)"), (0.5, "float")]
)
def test_callable_of_wrong_shape_is_refused(value: Any, got: str) -> None:
    """Otherwise a scalar or transposed value would broadcast its way into a wrong formula."""
    with pytest.raises(AdapterError, match=f"an initial value of .*{got}; want a tensor of shape"):
        made(lambda _, __: value, 3)


def test_initial_value_is_a_copy() -> None:
    """Otherwise training an adapter whose value came from the base weight would train the base weight."""
    layer = nn.Linear(4, 3)
    value = TensorSpec((3, 4), lambda _, of: of.get_parameter("weight")).make(layer, torch.float32, CPU)
    value.zero_()
    assert layer.weight.abs().min() > 0


def test_expanded_initial_value_is_made_whole() -> None:
    """Otherwise an optimiser could not write to a parameter whose elements share one place in memory."""
    value = made(lambda shape, _: torch.ones(1).expand(shape), 3)
    value.add_(torch.arange(3.0))
    assert value.tolist() == [1, 2, 3]


def test_half_precision_values_are_drawn_in_float32() -> None:
    """Otherwise one seed would start a bfloat16 adapter somewhere else than a float32 one."""
    layer, spec = nn.Linear(4, 3), TensorSpec((30, 40), "near_zero")
    torch.manual_seed(0)
    wide = spec.make(layer, torch.float32, CPU)
    torch.manual_seed(0)
    assert torch.equal(spec.make(layer, torch.bfloat16, CPU), wide.bfloat16())


def test_random_values_do_not_depend_on_the_default_device() -> None:
    """Otherwise one seed would mean other values wherever a default device is set."""
    layer, spec = nn.Linear(4, 3), TensorSpec((3, 4), "kaiming")
    torch.manual_seed(0)
    plain = spec.make(layer, torch.float32, CPU)
    torch.manual_seed(0)
    with torch.device("meta"):
        elsewhere = spec.make(layer, torch.float32, CPU)
    assert torch.equal(plain, elsewhere)
