"""Which tests a plain ``pytest`` runs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.conftest import EVERYDAY, pytest_configure

SOURCE = pytest.Config.ArgsSource


@pytest.mark.parametrize(
    ("source", "asked", "runs"),
    [
        (SOURCE.TESTPATHS, "", EVERYDAY),
        (SOURCE.TESTPATHS, "not slow", "not slow"),
        (SOURCE.ARGS, "", ""),
    ],
)
def test_what_is_asked_for_is_run(source: pytest.Config.ArgsSource, asked: str, runs: str) -> None:
    """A test that was named would be left out without a word, or ``nox -s tests`` would leave out the integration."""
    config = SimpleNamespace(args_source=source, option=SimpleNamespace(markexpr=asked))
    pytest_configure(config)  # type: ignore[arg-type]
    assert config.option.markexpr == runs
