"""The command line, asked for what makes no sense: it says got, want and what to do, and ends with status 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance import cli
from conformance.nouns.finding import Finding
from tests.harness import toys

TOYS = "tests.harness.toys"


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is said to a request that makes no sense."""
    try:
        status = cli.main(arguments)
    except SystemExit as left:
        status = int(left.code or 0)
    said = capsys.readouterr().err
    assert status == 2, said
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize("command", ["audit", "list"])
def test_an_unknown_variant(
    here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """A misspelt variant would be audited as nobody, and pass."""
    said = refused(capsys, command, "loar")
    assert said.splitlines()[-1].startswith("conformance: variant: got 'loar', want one of lora, ")
    assert "conformance list" in said


@pytest.mark.parametrize(
    ("case", "want"),
    [
        ("sound/peft:gate/params/t0-f32+bf16-in12", "want a planned case, such as sound/peft:gate/params/t0-f32+bf16"),
        ("sound/nonsense", "want a planned case"),
        ("nobody/peft:gate/params/plain", "got 'nobody', want one of sound"),
        ("", "got '', want a planned case"),
    ],
)
def test_an_unknown_case(
    here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str], case: str, want: str
) -> None:
    """A misspelt case would measure nothing, and pass."""
    assert want in refused(capsys, "audit", "--entries", f"{TOYS}:ONE", "--case", case)


def test_a_case_of_another_variant(here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str]) -> None:
    """A case would be looked for under a variant that it is not of."""
    assert "--case: got" in refused(capsys, "audit", "lora", "--case", toys.ODD.id)


@pytest.mark.parametrize("workers", ["0", "-1", "two", "1.5", "", "\N{SUPERSCRIPT TWO}"])
def test_a_number_of_workers_that_is_none(capsys: pytest.CaptureFixture[str], workers: str) -> None:
    """A run without workers would run nothing."""
    assert "--workers" in refused(capsys, "run", f"--workers={workers}")


@pytest.mark.parametrize(
    "place",
    ["nonsense", "no.such:ENTRIES", f"{TOYS}:NO_SUCH", f"{TOYS}", f"{TOYS}:NOT_A_TUPLE", f"{TOYS}:SOUND", ":X", ""],
)
@pytest.mark.parametrize("command", ["run", "audit", "list"])
def test_entries_that_are_none(
    here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str], command: str, place: str
) -> None:
    """A misspelt place would audit the roster, or nobody."""
    said = refused(capsys, command, "--entries", place)
    assert f"--entries: got {place!r}" in said or "--entries: got a " in said
    assert "want MODULE:ATTRIBUTE" in said


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["run", "--nonsense"], ["run", "lora"]])
def test_a_command_that_is_none(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """Doing nothing would be a success."""
    assert "usage: conformance" in refused(capsys, *arguments)


def test_a_revision_outside_git(here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str]) -> None:
    """The revision that verdicts may not fall behind would silently not be looked at."""
    assert "--against: got 'main'" in refused(capsys, "run", "--against", "main")


def test_committed_results_that_cannot_be_read(
    here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    """Damaged results would read as none, so that no verdict is worse than before."""
    (here / "reports").mkdir()
    (here / "reports" / "results.json").write_text("{")
    assert "Restore it from git, or delete it." in refused(capsys, "run")
