"""Any value for any option: a config that survives being written down, or an ``AdapterError`` that names the option."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.fuzz.worlds import ANYTHING, CHILD_NAMES, FEW, GOOD, NAMES, models, options_of, outcome, works_or_refuses
from variants import AdapterError, Targets, attach, by_name, config_for
from variants.runtime.config import AdapterConfig

PATTERNS = st.one_of(
    st.sampled_from((*CHILD_NAMES, "*", "?", "[a]", "a.b", ".", "..", "a.*", "\\d+", "(?P<n", "a{1}", "[", "]", "**")),
    st.text(max_size=5),
    ANYTHING,
)


@settings(FEW, max_examples=400)
@given(st.data())
def test_any_value_for_any_option(data: st.DataObject) -> None:
    """Otherwise a wrong value would be an error from deep inside, or be taken and do something else."""
    name = data.draw(st.sampled_from(NAMES))
    options: dict[str, Any] = {}
    for option in data.draw(st.lists(st.sampled_from(options_of(name)), min_size=1, max_size=3, unique=True)):
        options[option] = data.draw(st.one_of(ANYTHING, GOOD.get(option, ANYTHING)))
    config = outcome(lambda: config_for(name, **options))
    if isinstance(config, AdapterError):
        # A bad size may show at the option it has to fit.
        assert any(config.where.endswith(f".{option}") for option in (*options, "r", "k", "block")), config
        return
    written = json.dumps(config.to_json(), allow_nan=False)
    assert type(config).from_json(json.loads(written)) == config


@settings(FEW, max_examples=300)
@given(st.dictionaries(st.sampled_from(("include", "exclude", "roles", "layers")), PATTERNS, min_size=1))
def test_any_value_for_targets(options: dict[str, Any]) -> None:
    """Otherwise a choice of layers that cannot be meant would be an error of another kind, or change in the file."""
    targets = outcome(lambda: Targets(**options))
    if isinstance(targets, AdapterError):
        assert targets.where in {f"Targets.{option}" for option in options}
        return
    config = AdapterConfig(targets=targets)
    assert AdapterConfig.from_json(json.loads(json.dumps(config.to_json()))).targets == targets


@settings(FEW, max_examples=150)
@given(models(("plain",)), st.lists(PATTERNS, max_size=2), st.lists(PATTERNS, max_size=2), st.sampled_from(("", "a.b")))
def test_patterns_on_odd_names(model: nn.Module, include: list[Any], exclude: list[Any], deeper: str) -> None:
    """Otherwise a bracket in a name would be read as a regular expression, and take another layer or none."""
    if deeper:
        model = nn.ModuleDict({"a": nn.ModuleDict({"b": model})})
    with works_or_refuses(model) as refusals:
        found = Targets(include=tuple(include), exclude=tuple(exclude)).find(model)
    if not refusals:
        for name in found:
            assert model.get_submodule(name) is found[name]
            assert not any(name == pattern or name.endswith(f".{pattern}") for pattern in exclude)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and not set("*?") & set(name):
            assert list(Targets(include=(name,)).find(model))[:1] == [name]


@settings(FEW, max_examples=100)
@given(
    ANYTHING.filter(lambda name: not isinstance(name, np.ndarray)),
    st.dictionaries(st.text(max_size=3), ANYTHING, max_size=2),
)
def test_config_by_name(name: Any, options: dict[str, Any]) -> None:
    """Otherwise a name or an option that does not exist would be an error of Python's, not one that lists the known."""
    for call in (lambda: by_name(name), lambda: config_for(name), lambda: config_for("lora", **options)):
        result = outcome(call)
        assert isinstance(result, AdapterError) or result == config_for("lora")


@settings(FEW, max_examples=60)
@given(models(("plain",)), ANYTHING)
def test_anything_for_a_config(model: nn.Module, value: Any) -> None:
    """Otherwise something that is no config would get as far as the model."""
    with works_or_refuses(model) as refusals:
        attach(model, value)
    assert refusals
    with works_or_refuses(model) as refusals:
        attach(model, config_for("lora", targets=Targets(include=("a",))), variant=value)
    assert refusals or value is None or not isinstance(value, type)


def test_ranks_as_other_kinds_of_number() -> None:
    """Otherwise a rank from NumPy or torch would be taken here and fail in the file, or a True count as 1."""
    for name in NAMES:
        if "r" in options_of(name):
            for r in (True, 1.0, 0, -1, torch.tensor(2), "2", None, 2**70 + 0.5):
                refusal = outcome(partial(config_for, name, r=r))
                assert isinstance(refusal, AdapterError), f"{name} takes r={r!r}"
                assert refusal.where.endswith(".r")
