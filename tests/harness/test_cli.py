"""The command line in this process: what it says to a request that makes no sense, and with which status it ends."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from conformance import cli, collect
from conformance.evidence import Evidence
from conformance.model import Case, Finding, Outcome
from conformance.roster import ENTRIES
from tests.harness import toys
from tests.harness.world import agree, differ

TOYS = "tests.harness.toys"
ODD = Case("sound", *toys.ODD_CASE.split("/"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder outside git to run in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, toy_findings: dict[str, Finding]) -> dict[str, Finding]:
    """Both ways to run give these findings at once, and nothing is run."""
    found = dict(toy_findings)
    monkeypatch.setattr(collect, "through_pytest", lambda *a, **k: Evidence(found))
    monkeypatch.setattr(collect, "in_a_child", lambda *a, **k: Evidence(found))
    return found


def only(answers: dict[str, Finding], name: str) -> None:
    """Keep the findings of one toy."""
    for case in [case for case in answers if not case.startswith(f"{name}/")]:
        del answers[case]


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
    assert "--case: got" in refused(capsys, "audit", "lora", "--case", ODD.id)


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


def test_the_list_of_variants(capsys: pytest.CaptureFixture[str]) -> None:
    """A variant would be audited that the list does not name, or the other way round."""
    assert cli.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [entry.name for entry in ENTRIES]
    assert cli.main(["list", "--entries", f"{TOYS}:CRASHING"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["segfault", "sound"]


def test_the_list_of_cases(capsys: pytest.CaptureFixture[str]) -> None:
    """A case could not be found by its name."""
    assert cli.main(["list", "sound", "--entries", f"{TOYS}:CRASHING"]) == 0
    cases = capsys.readouterr().out.splitlines()
    assert ODD.id in cases
    assert all(case.startswith("sound/") for case in cases)


def test_an_audit_of_a_right_subject(
    here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    """An audit would touch what is committed, or not tell what it found."""
    only(answers, "sound")
    assert cli.main(["audit", "--entries", f"{TOYS}:ONE"]) == 0
    assert "1 CORRECT. Summary: .conformance/reports/index.md" in capsys.readouterr().out
    assert [path.name for path in here.iterdir()] == [".conformance"]


def test_an_audit_of_nobody(here: Path, answers: dict[str, Finding]) -> None:
    """An empty tuple of entries would end with status 0."""
    answers.clear()
    assert cli.main(["audit", "--entries", f"{TOYS}:NOBODY"]) == 1


@pytest.mark.parametrize("command", ["audit", "run"])
def test_a_case_that_gave_no_answer(
    here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """A case that crashed would be missing from the evidence, and the status be 0."""
    only(answers, "sound")
    del answers[ODD.id]
    arguments = [command, "--entries", f"{TOYS}:ONE"]
    assert [cli.main(arguments) for _ in range(2)] == [1, 1]
    said = capsys.readouterr()
    assert ("GATE: sound is UNPROVEN" in said.err) is (command == "run")
    assert "MUST-FIX sound: unproven: planned, but no evidence arrived" in said.out


def test_an_audit_of_a_wrong_subject(
    here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    """A BUGGY variant would end with status 0."""
    answers[ODD.id] = differ(ODD)
    only(answers, "sound")
    assert cli.main(["audit", "--entries", f"{TOYS}:ONE"]) == 1
    assert "MUST-FIX sound: output: got 1, want 2" in capsys.readouterr().out


def test_a_run_writes_the_reports_and_is_shut_until_they_are_committed(
    here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    """The committed cards could be others than those of the run, or a right run never pass."""
    only(answers, "sound")
    assert cli.main(["run", "--entries", f"{TOYS}:ONE"]) == 1
    assert "GATE: reports/sound.md is out of date" in capsys.readouterr().err
    assert json.loads((here / "reports" / "results.json").read_text())["variants"]["sound"]["verdict"] == "CORRECT"
    assert cli.main(["run", "--entries", f"{TOYS}:ONE"]) == 0
    answers[ODD.id] = differ(ODD)
    assert cli.main(["run", "--entries", f"{TOYS}:ONE"]) == 1
    assert "GATE: sound went from CORRECT to BUGGY" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "broken", "status"),
    [
        ({}, "", 0),
        ({"n_compared": 0}, "", 1),
        ({"outcome": Outcome.DIFFER}, "", 1),
        ({"outcome": Outcome.ERROR}, "", 1),
        ({"outcome": Outcome.NOT_APPLICABLE}, "", 1),
        ({}, "the process that ran the cases crashed", 1),
    ],
)
def test_one_case_alone(
    here: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], broken: str, status: int
) -> None:
    """A case that did not agree, or whose run crashed, would end with status 0."""
    found = Evidence({ODD.id: agree(ODD, **change)}, broken)
    monkeypatch.setattr(collect, "in_a_child", lambda *a, **k: found)
    assert cli.main(["audit", "--entries", f"{TOYS}:ONE", "--case", ODD.id]) == status
    assert list(here.iterdir()) == []


def test_one_case_tells_its_figures(
    here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    """The command that every message names would not show what it promises."""
    case = next(c for c, f in answers.items() if f.outcome is Outcome.DIFFER and f.numeric and f.where)
    assert cli.main(["audit", "--entries", f"{TOYS}:BOTH", "--case", case]) == 1
    said, found = capsys.readouterr().out, answers[case]
    for text in (case, found.where, f"got {found.got}", f"want {found.want}", f"limit {found.limit:.3g}", "toys.py:"):
        assert text in said


def test_one_case_without_an_answer(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A case that crashed its process would end with status 0 or a traceback."""
    monkeypatch.setattr(collect, "in_a_child", lambda *a, **k: Evidence({}, "it crashed"))
    assert cli.main(["audit", "--entries", f"{TOYS}:ONE", "--case", ODD.id]) == 1
    assert f"{ODD.id}: no answer: it crashed" in capsys.readouterr().err


def test_a_run_whose_engine_raised(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that could not be started would leave nothing to say that it was not."""

    def fail(*_: object, **__: object) -> Evidence:
        raise OSError("no more processes")

    monkeypatch.setattr(collect, "in_a_child", fail)
    monkeypatch.setattr(threading, "excepthook", lambda raised: None)
    assert cli.main(["audit", "--entries", f"{TOYS}:ONE"]) == 1
    assert (here / ".conformance" / "reports" / "sound.md").read_text().startswith("# sound: UNPROVEN")
