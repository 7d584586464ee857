"""The command line in this process: what it prints and writes, and with which status it ends."""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from conformance import cli
from conformance.commands import audit
from conformance.nouns.finding import Finding, Outcome, Severity
from conformance.reporting import report
from conformance.reporting.rows import Row
from conformance.running import collect
from conformance.running.evidence import Evidence
from subjects.own.roster import ENTRIES
from tests.harness import toys
from tests.harness.world import agree, differ

TOYS = "tests.harness.toys"


def only(answers: dict[str, Finding], name: str) -> None:
    """Keep the findings of one toy."""
    for case in [case for case in answers if not case.startswith(f"{name}/")]:
        del answers[case]


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
    assert toys.ODD.id in cases
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
    del answers[toys.ODD.id]
    arguments = [command, "--entries", f"{TOYS}:ONE", *(["--reports", "reports"] if command == "run" else [])]
    assert [cli.main(arguments) for _ in range(2)] == [1, 1]
    said = capsys.readouterr()
    assert ("GATE: sound is UNPROVEN" in said.err) is (command == "run")
    assert "MUST-FIX sound: unproven: planned, but no evidence arrived" in said.out


def test_an_audit_of_a_wrong_subject(
    here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    """A BUGGY variant would end with status 0."""
    answers[toys.ODD.id] = differ(toys.ODD)
    only(answers, "sound")
    assert cli.main(["audit", "--entries", f"{TOYS}:ONE"]) == 1
    assert "MUST-FIX sound: output: got 1, want 2" in capsys.readouterr().out


def test_one_mistake_is_one_finding_with_its_figures(
    here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    """A block for each reference would hide that it is one mistake, and the figures be missing."""
    only(answers, "shifted")
    assert cli.main(["audit", "shifted", "--entries", f"{TOYS}:BOTH"]) == 1
    blocks = [b for b in capsys.readouterr().out.split("\n\n") if b.startswith("MUST-FIX")]
    assert "/forward/" in blocks[0].splitlines()[-1]
    assert "prints the figures" not in "".join(blocks)
    case = blocks[0].rpartition("--case '")[2].rstrip("'")
    found = answers[case]
    assert f"  got {found.got}, want {found.want}; error {found.error:.3g}, limit {found.limit:.3g}" in blocks[0]
    texts = [block.splitlines()[0].partition("; also differ")[0].rpartition(" cases) ")[2] for block in blocks]
    assert len(set(texts)) == len(texts)


def test_findings_against_several_references_are_one() -> None:
    """Twelve blocks would say three things."""
    off, other = "output is off: a; also differ: b", "output is off: a; also differ: c"
    one, two, gradient = (
        Row(Severity.MUST_FIX, "v", text, "", "", cases)
        for text, cases in (
            (off, ("v/peft:v/forward/x", "v/peft:v/forward/y")),
            (other, ("v/closed:v/forward/x",)),
            ("gradient of A is off", ("v/peft:v/gradients/x",)),
        )
    )
    assert report._together([gradient, one, two]) == [[one, two], [gradient]]
    assert report._told([one, two]) == f"(3 cases) {off} (against peft:v, closed:v)"


def test_how_many_cases_are_run(
    here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would know that one case brings others, or that everything takes minutes."""
    cli.main(["audit", "--entries", f"{TOYS}:ONE", "--case", toys.ODD.id])
    assert "1 case (and 2 that the judge needs)" in capsys.readouterr().err
    asked = argparse.Namespace(case=None, variants=[], entries=None)
    told = audit._how_many(asked, 7886, 14)
    assert told == "Auditing all 14 variants: 7886 cases, about 3 minutes. Name a variant to audit only one"


def test_what_another_library_says_of_its_import_is_not_repeated() -> None:
    """Each command would begin with the name of a package that nobody needs."""
    log = logging.getLogger("bitsandbytes.backends.cpu.ops")
    told = "Failed to load CPU gemm_4bit_forward from kernels-community: %s."
    records = [logging.LogRecord(log.name, logging.WARNING, "", 0, text, (), None) for text in (told, "another line")]
    assert [bool(log.filter(record)) for record in records] == [False, True]


def test_a_run_writes_the_reports_and_is_shut_until_they_are_committed(
    here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    """The committed cards could be others than those of the run, or a right run never pass."""
    subprocess.run(["git", "init", "-q", "."], check=True)
    only(answers, "sound")
    arguments = ["run", "--entries", f"{TOYS}:ONE", "--reports", "reports"]
    assert cli.main(arguments) == 1
    assert "GATE: reports/sound.md is out of date" in capsys.readouterr().err
    assert json.loads((here / "reports" / "results.json").read_text())["variants"]["sound"]["verdict"] == "CORRECT"
    subprocess.run(["git", "add", "reports"], check=True)
    assert cli.main(arguments) == 0


def test_cards_of_other_entries_go_to_a_folder_of_their_own(here: Path, answers: dict[str, Finding]) -> None:
    """An audit of somebody else's code would overwrite and delete the committed cards."""
    subprocess.run(["git", "init", "-q", "."], check=True)
    (here / "reports").mkdir()
    (here / "reports" / "lora.md").write_text("# lora: CORRECT\n")
    only(answers, "sound")
    assert cli.main(["run", "--entries", f"{TOYS}:ONE"]) == 0
    assert [path.name for path in (here / "reports").iterdir()] == ["lora.md"]
    (folder,) = (here / ".conformance" / "subjects").iterdir()
    assert (folder / "sound.md").read_text().startswith("# sound: CORRECT")


def test_a_run_outside_git_compares_with_the_cards_that_are_there(
    here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    """It would ask for a commit where nothing can be committed, or pass a verdict that got worse."""
    only(answers, "sound")
    arguments = ["run", "--entries", f"{TOYS}:ONE", "--reports", "cards"]
    assert cli.main(arguments) == 0
    assert "GATE" not in capsys.readouterr().err
    answers[toys.ODD.id] = differ(toys.ODD)
    assert cli.main(arguments) == 1
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
    found = Evidence({toys.ODD.id: agree(toys.ODD, **change)}, broken)
    monkeypatch.setattr(collect, "in_a_child", lambda *a, **k: found)
    assert cli.main(["audit", "--entries", f"{TOYS}:ONE", "--case", toys.ODD.id]) == status
    assert [path for path in here.rglob("*") if path.is_file()] == []


def test_one_case_tells_its_figures(
    here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    """The command that every message names would not show what it promises."""
    differs = {c: f for c, f in answers.items() if f.outcome is Outcome.DIFFER and f.numeric and f.where}
    case = next(c for c in differs if "/peft:gate/" in c)
    assert cli.main(["audit", "--entries", f"{TOYS}:BOTH", "--case", case]) == 1
    said, found = capsys.readouterr().out, answers[case]
    got, want = f"got        {found.got}   (subject: shifted, ", f"want       {found.want}   (reference: "
    for text in (case, found.where, got, want, f"limit {found.limit:.3g}", "toys.py:"):
        assert text in said


def test_one_case_without_an_answer(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A case that crashed its process would end with status 0 or a traceback."""
    monkeypatch.setattr(collect, "in_a_child", lambda *a, **k: Evidence({}, "it crashed"))
    assert cli.main(["audit", "--entries", f"{TOYS}:ONE", "--case", toys.ODD.id]) == 1
    assert f"{toys.ODD.id}: no answer: it crashed" in capsys.readouterr().err


@pytest.mark.parametrize(("raised", "status"), [(KeyboardInterrupt(), 130), (OSError("the disk is full"), 2)])
def test_a_run_that_is_cut_short(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answers: dict[str, Finding],
    raised: BaseException,
    status: int,
) -> None:
    """A run that somebody stopped, or that could not write its cards, would end with status 0."""

    def cut(*_: object) -> None:
        raise raised

    monkeypatch.setattr(report, "write", cut)
    assert cli.main(["audit", "--entries", f"{TOYS}:BOTH"]) == status
    assert capsys.readouterr().err.splitlines()[-1].startswith("conformance: ")


def test_a_reader_that_has_had_enough_does_not_open_the_gate(here: Path) -> None:
    """``conformance run | head`` would end with status 0 before the gate was asked."""
    start = "import sys; from conformance.cli import main; sys.exit(main())"
    command = [sys.executable, "-P", "-c", start, "list", "sound", "--entries", f"{TOYS}:ONE"]
    where = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": "1"}
    listing = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=where)
    assert listing.stdout is not None
    listing.stdout.close()
    assert listing.wait() not in (0, 1, 2)
    assert listing.stderr is not None
    assert listing.stderr.read() == ""


def test_a_run_whose_engine_raised(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that could not be started would leave nothing to say that it was not."""

    def fail(*_: object, **__: object) -> Evidence:
        raise OSError("no more processes")

    monkeypatch.setattr(collect, "in_a_child", fail)
    monkeypatch.setattr(threading, "excepthook", lambda raised: None)
    assert cli.main(["audit", "--entries", f"{TOYS}:ONE"]) == 1
    assert (here / ".conformance" / "reports" / "sound.md").read_text().startswith("# sound: UNPROVEN")
