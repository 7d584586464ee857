"""Somebody's own pytest: three lines ask everything, a finding is a failure, and other runs are left alone."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from conformance.foreign.asked import Asked
from conformance.foreign.conforms import conforms_to
from conformance.nouns.promises import FOREIGN, Stored
from conformance.nouns.verdict import Deviation
from conformance.planning.select import entries_at
from tests.harness.stand_ins import Single, Wrapper

pytestmark = pytest.mark.integration

PLUGIN = "conformance.foreign.pytest_plugin"
import_module("peft")  # pytester forgets what a run within it imports first, and peft cannot be imported twice

RIGHT = """
from conformance import conforms_to
from tests.harness.stand_ins import OwnLayer

test_mine = conforms_to("peft:lora")(OwnLayer)
"""
WRONG = """
from conformance import conforms_to
from tests.harness.stand_ins import Unscaled

@conforms_to("peft:lora")
def test_mine(layer, settings):
    return Unscaled(layer, settings.r, settings.alpha)
"""


def outcomes(result: pytest.RunResult) -> dict[str, int]:
    """How many tests ended in which way."""
    return {name.rstrip("s"): n for name, n in result.parseoutcomes().items()}


def test_a_right_class_passes_by_three_lines(pytester: pytest.Pytester) -> None:
    """A correct adapter would be reported as wrong in its own project, or its tests would be nothing."""
    pytester.makepyfile(test_mine=RIGHT)
    result = pytester.runpytest("-p", PLUGIN, "-v", "--strict-markers")
    assert set(outcomes(result)) <= {"passed", "warning"}
    told = result.stdout.str()
    assert all(f"test_mine.py::test_mine[{check}] PASSED" in told for check in ("forward", "gradients", "verdict"))


def test_a_finding_is_a_failure_with_its_line_and_its_command(pytester: pytest.Pytester) -> None:
    """A wrong adapter would pass, or its author would see a traceback of the harness and no way to see it again."""
    pytester.makepyfile(test_mine=WRONG)
    result = pytester.runpytest("-p", PLUGIN, "-k", "init or merge or references or forward")
    ended = outcomes(result)
    assert (ended["failed"], ended["passed"]) == (1, 2)
    text = result.stdout.str()
    assert "the adapter's part is r/alpha times the reference's" in text
    assert "conformance audit mine --entries test_mine.py:test_mine --case 'mine/closed:lora/forward/" in text
    assert "conforms.py" not in text
    result.stdout.fnmatch_lines(["FAILED test_mine.py::test_mine?forward? - Failed: (* cases) output is off*"])


def test_the_command_of_a_finding_finds_the_entry(tmp_path: Path) -> None:
    """What the failure tells its reader to run would not run: also where tests are a package."""
    for folder in (tmp_path / "alone", tmp_path / "checks"):
        folder.mkdir()
        (folder / f"test_of_{folder.name}.py").write_text(WRONG, encoding="utf-8")
    (tmp_path / "checks" / "__init__.py").touch()
    for folder in ("alone", "checks"):
        (entry,) = entries_at(f"{tmp_path}/{folder}/test_of_{folder}.py:test_mine")
        assert entry.name == "mine"
    assert "checks.test_of_checks" in sys.modules


MISTAKES = {
    "conforms_to('lorra')(OwnLayer)": "Did you mean 'lora'?",
    "conforms_to('lora', names={'A': 'lora_C'})(OwnLayer)": "want one of layer.lora_A",
    "conforms_to('lora')(Wanting)": "unknown constructor parameters secret. Known names: base, base_layer",
    "conforms_to('lora')(nn.Linear)": "want one tensor for each name of the formula",
    "conforms_to('lora')(fails)": "RuntimeError: not today",
}


@pytest.mark.parametrize("line", MISTAKES, ids=["method", "name", "constructor", "class", "raises"])
def test_a_mistake_in_the_entry_is_one_test(pytester: pytest.Pytester, line: str) -> None:
    """A typo would be an error of pytest's collection, or a hundred findings against the code."""
    head = "from torch import nn\nfrom conformance import conforms_to\nfrom tests.harness.stand_ins import *\n"
    wanting = "class Wanting(OwnLayer):\n    def __init__(self, layer, secret): ...\n"
    raising = "def fails(layer, settings):\n    raise RuntimeError('not today')\n"
    pytester.makepyfile(test_mine=f"{head}\n{wanting}\n{raising}\ntest_mine = {line}\n")
    result = pytester.runpytest("-p", PLUGIN)
    result.assert_outcomes(failed=1)
    assert MISTAKES[line] in result.stdout.str()


def test_other_uses_are_said(pytester: pytest.Pytester) -> None:
    """A decorator without a method, or a test in a class, would fail with pytest's words about fixtures."""
    with pytest.raises(TypeError, match="want a method first"):
        conforms_to(test_other_uses_are_said)  # type: ignore[arg-type]
    pytester.makepyfile(
        test_mine="from conformance import conforms_to\n\nclass TestMine:\n    test_it = conforms_to('lora')(int)\n"
    )
    result = pytester.runpytest("-p", PLUGIN)
    assert "Move it out of the class" in result.stdout.str() + result.stderr.str()
    assert result.ret != 0
    pytester.makepyfile(test_mine="from conformance import conforms_to\n\ntest_it = conforms_to('lora')\n")
    result = pytester.runpytest("-p", PLUGIN)
    told = "test_it = conforms_to('lora') names no code. Write test_it = conforms_to('lora')(MyClass)"
    assert told in result.stdout.str() + result.stderr.str()
    assert result.ret != 0


def test_without_the_plugin_nothing_passes_unasked(pytester: pytest.Pytester) -> None:
    """A project that turned the plugin off would read green."""
    pytester.makepyfile(test_mine=RIGHT)
    result = pytester.runpytest("-p", f"no:{PLUGIN}")
    result.assert_outcomes(errors=1)
    assert "conformance_check" in result.stdout.str()


def test_a_run_that_does_not_use_it_is_left_alone() -> None:
    """Every project that has this installed would wait for torch in each of its test runs."""
    told = "import sys; import conformance.foreign.pytest_plugin as p; from conformance import conforms_to; "
    told += "conforms_to('lora')(int); print([m for m in ('torch', 'numpy', 'peft', 'refs') if m in sys.modules]); "
    told += "print(sorted(n for n in vars(p) if n.startswith('pytest_')))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "['pytest_configure', 'pytest_generate_tests']"]


def test_it_is_installed_under_the_name_of_its_module() -> None:
    """An installed plugin would be loaded twice beside `-p`, or not at all."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {PLUGIN: PLUGIN}


def asked(kind: type[nn.Module], **more: Any) -> Asked:
    """What the tests of a class ask, without pytest around it."""
    return Asked(kind, "lora", {"promises": replace(FOREIGN, bookkeeping=("*.alpha",), **ONE_DTYPE), **more})


ONE_DTYPE = {"mixes_dtypes": False, "stored": Stored.AS_LAYER}


def test_what_is_minor_is_listed_and_no_failure() -> None:
    """Seven digits in a float64 layer would fail somebody's build, or nobody would hear of them."""
    answer = asked(Single).answer("forward", "t.py:t")
    assert answer.wrong == ""
    assert answer.minor
    assert all(told.startswith("differs in float64 only: output") for told in answer.minor)


def test_the_verdict_sees_what_no_check_does() -> None:
    """A deviation that is declared and not there would be a licence for later."""
    gone = Deviation("peft:lora/forward/*", "w", "y", "https://example.org", by_default=True)
    tests = asked(Wrapper, deviations=(gone,))
    assert tests.answer("forward", "t.py:t").wrong == ""
    told = tests.answer("verdict", "t.py:t").wrong
    assert told.startswith("UNPROVEN: ")
    assert "was not observed: withdraw it" in told
    assert "conformance audit --entries t.py:t" in told


def test_a_plan_draws_nothing_of_the_projects_generators() -> None:
    """Seeded tests of a project would give other numbers once this is installed."""
    before = torch.get_rng_state()
    assert asked(Wrapper).names[-1] == "verdict"
    assert torch.equal(torch.get_rng_state(), before)


def test_left_out_nothing_is_built(pytester: pytest.Pytester) -> None:
    """A run without these tests would still wait for peft."""
    raises = "def test_mine(layer, settings):\n    raise SystemExit('it was built')\n"
    pytester.makepyfile(test_mine=f"from conformance import conforms_to\n\n@conforms_to('lora')\n{raises}")
    result = pytester.runpytest("-p", PLUGIN, "-m", "not conformance")
    result.assert_outcomes(deselected=1)
