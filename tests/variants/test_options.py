"""The documentation of the configs' options: complete, in one form, and true."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import pytest

from variants.options import KEY, Option, documented, option, options_of
from variants.registry import VARIANTS
from variants.runtime.errors import AdapterError

CONFIGS = tuple(variant.Config for variant in VARIANTS)
FACTS = ("default", "range", "formula", "paper", "peft", "change")
WORDS = re.compile(r"[a-z_0-9]+(?:, [a-z_0-9A-Z]+)+")
"""A range that lists its choices."""


def parsed(docstring: str) -> dict[str, dict[str, str]]:
    """Option -> what its part of a docstring says."""
    found: dict[str, dict[str, str]] = {}
    for line in docstring.partition("Options:\n\n")[2].splitlines():
        name, _, text = line.strip().partition(": ")
        if line.startswith("    "):
            found[list(found)[-1]][name] = text
        else:
            found[name] = {"meaning": text}
    return found


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_every_option_is_documented(config: type) -> None:
    """``help(LoRAConfig)`` would leave an option unexplained."""
    told = parsed(config.__doc__ or "")
    assert set(told) == {field.name for field in dataclasses.fields(config)}
    for name, facts in told.items():
        assert tuple(facts) == ("meaning", *FACTS), name
        assert all(facts.values()), name


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_the_defaults_in_the_text_are_the_true_ones(config: Any) -> None:
    """A reader would rely on a default that the config does not have."""
    made = config()
    for name, facts in parsed(config.__doc__).items():
        value = getattr(made, name)
        want = "Targets()" if name == "targets" else repr(value)
        assert facts["default"] == want, name


def choices() -> Iterator[tuple[type, str, list[str]]]:
    """Every option whose range lists words."""
    for config in CONFIGS:
        for name, (each, default) in options_of(config).items():
            if default.startswith("'"):
                assert WORDS.fullmatch(each.range) or name == "rotate_basis", (name, each.range)
                yield config, name, each.range.split(", ")


@pytest.mark.parametrize(("config", "name", "words"), list(choices()))
def test_the_choices_in_the_text_are_those_that_the_config_takes(config: Any, name: str, words: list[str]) -> None:
    """The text would name a choice that is refused."""
    for word in words:
        assert getattr(config(**{name: word}), name) == word
    with pytest.raises(AdapterError):
        config(**{name: "another"})


def peft_fields() -> set[str]:
    """Every field of the peft configs that the variants have a counterpart in."""
    import peft

    configs = (peft.LoraConfig, peft.EvaConfig, peft.DeloraConfig, peft.HRAConfig, peft.RoadConfig, peft.IA3Config)
    return {field.name for config in configs for field in dataclasses.fields(config)} | {"autocast_adapter_dtype"}


def test_the_names_in_peft_are_there() -> None:
    """A reader would look for a setting that peft does not have."""
    known = peft_fields()
    for config in CONFIGS:
        for name, (each, _) in options_of(config).items():
            for word in () if each.peft == "-" else re.split(r"[:,]? ", each.peft)[:1]:
                assert set(word.rstrip(",:").split(".")) <= known, (name, each.peft)


def test_an_undocumented_option_is_an_error() -> None:
    """A new option could be added without a word."""

    @dataclasses.dataclass
    class Config:
        r: int = 8

    with pytest.raises(KeyError, match=KEY):
        documented(Config)


def test_a_new_default_shows_in_the_text() -> None:
    """The text would keep the default of yesterday."""

    @documented
    @dataclasses.dataclass
    class Config:
        """A config."""

        r: int = option(9, "rank", range="any", change="never")

    assert parsed(Config.__doc__ or "")["r"] == {
        **{"meaning": "rank.", "default": "9", "range": "any", "change": "never."},
        **{"formula": "-", "paper": "-", "peft": "-"},
    }
    assert dataclasses.fields(Config)[0].metadata[KEY] == Option("rank", "any", "never")
