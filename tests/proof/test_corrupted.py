"""A corrupted peft: the edits fit the pinned version, and the cards turn."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from proof.ask import QUICK_CHECKS
from proof.corrupted.edits import COPIES, FIRST, Corruption, corrupt
from proof.corrupted.run import run

pytestmark = pytest.mark.integration


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the installed peft."""
    spec = importlib.util.find_spec("peft")
    assert spec is not None
    assert spec.origin is not None
    return Path(shutil.copytree(Path(spec.origin).parent, tmp_path / "peft"))


@pytest.mark.parametrize("corruption", [c for copy in COPIES for c in copy], ids=lambda c: f"{c.variant}: {c.name}")
def test_an_edit_alters_its_own_lines_only(corruption: Corruption, package: Path) -> None:
    """Another mistake than the named one would be tried, or none."""
    path = package / corruption.where.partition("::")[0]
    before = path.read_text(encoding="utf-8")
    corrupt(package, corruption)
    after = path.read_text(encoding="utf-8")
    assert after != before
    compile(after, str(path), "exec")
    gone = [old for old, _ in corruption.replace if before.count(old) == after.count(old)]
    assert not gone


def test_a_fragment_that_is_not_there_is_an_error(package: Path) -> None:
    """After a new version of peft the copy would be right, and every card with it."""
    with pytest.raises(ValueError, match=r"0 times, want once.*mend"):
        corrupt(package, replace(FIRST[0], replace=(("no such line", ""),)))
    with pytest.raises(ValueError, match="0 objects named"):
        corrupt(package, replace(FIRST[0], where="tuners/hra/layer.py::NoSuchClass.forward"))


@pytest.mark.parametrize(
    ("variants", "checks"),
    [
        pytest.param(["road"], ("forward",), id="one check"),
        pytest.param(["hra", "lora"], QUICK_CHECKS, id="all", marks=pytest.mark.slow),
    ],
)
def test_a_sample_turns_the_cards(variants: list[str], checks: tuple[str, ...]) -> None:
    """A reference that changed under the suite would be taken for the one that was audited."""
    rows = run(1, [[c for c in FIRST if c.variant in variants]], checks)
    assert [r.variant for r in rows] == variants
    assert [problem for row in rows for problem in row.problems] == []
