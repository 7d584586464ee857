"""The plugin of a project's own pytest: it gives each ``conforms_to`` one test for each check that is asked.

A run without ``conforms_to`` is as it was: no option, no fixture, nothing printed, and torch is not imported.
"""

from __future__ import annotations

import os
import shlex
import warnings
from typing import TYPE_CHECKING

import pytest

from conformance.foreign.conforms import FIXTURE, VERDICT, MinorFinding

if TYPE_CHECKING:
    from conformance.foreign.asked import Asked

LEFT_OUT = "not conformance"
MARKER = f"conformance: measured against a reference (conformance.conforms_to); leave it out with -m '{LEFT_OUT}'"


def pytest_configure(config: pytest.Config) -> None:
    """The marker, so that the tests can be left out."""
    config.addinivalue_line("markers", MARKER)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per check of the plan. What is wrong with the entry itself is a test of its own, which fails."""
    if unfinished := getattr(metafunc.function, "conformance_unfinished", None):
        raise pytest.UsageError(
            f"{metafunc.definition.name} = {unfinished} names no code. Write {metafunc.definition.name} = "
            f"{unfinished}(MyClass), or @{unfinished} over a class or a function."
        )
    asked = getattr(metafunc.function, "conformance_asked", None)
    if asked is None:
        return
    if metafunc.cls is not None:
        raise pytest.UsageError(
            f"conforms_to: got {metafunc.cls.__name__}.{metafunc.function.__name__} in a class, want a name of the "
            "module: the command that shows a finding again has to name it. Move it out of the class."
        )
    left_out = metafunc.config.getoption("markexpr", "") == LEFT_OUT
    names = (VERDICT,) if left_out else asked().names  # one stands for all of them, and nothing is built
    metafunc.parametrize(FIXTURE, [pytest.param(name, marks=pytest.mark.conformance) for name in names])


def tell(asked: Asked, node: pytest.Item, check: str) -> None:
    """Ask one check of this test, or the verdict; fail with the finding, and warn of what is minor."""
    place = f"{os.path.relpath(node.path)}:{getattr(node, 'originalname', node.name)}"
    answer = asked.answer(check, shlex.quote(place))
    for minor in answer.minor:
        warnings.warn(MinorFinding(minor), stacklevel=1)
    if answer.wrong:
        pytest.fail(answer.wrong, pytrace=False)
