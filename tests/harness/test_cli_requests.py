"""The command line, asked for what makes no sense: it says got, want and what to do, and ends with status 2."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from conformance import cli
from conformance.commands import options
from conformance.nouns.finding import Finding
from conformance.running.evidence import last
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
    told = "conformance: unknown variant 'loar'. Did you mean 'lora'? Known: lora, "
    assert said.splitlines()[-1].startswith(told)


@pytest.mark.parametrize(
    ("case", "want"),
    [
        (f"{toys.ODD.id}x", f"Did you mean '{toys.ODD.id}'?"),
        ("sound/nonsense", "is planned. An id is VARIANT/REFERENCE/CHECK/CONFIGURATION, such as 'sound/peft:gate/for"),
        ("sound", "such as 'sound/peft:gate/forward/perturbed-f64-"),
        ("nobody/peft:gate/params/plain", "unknown variant 'nobody'. Known: sound."),
        ("", "--case: the id is missing. Write VARIANT/REFERENCE/CHECK/CONFIGURATION"),
    ],
)
def test_an_unknown_case(
    here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str], case: str, want: str
) -> None:
    """A misspelt case would measure nothing, and pass."""
    assert want in refused(capsys, "audit", "--entries", f"{TOYS}:ONE", "--case", case)


def test_a_case_of_another_variant(here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str]) -> None:
    """A case would be looked for under a variant that it is not of."""
    case = "dora/peft:dora/forward/perturbed-f64-in12-out20-r4-alpha6-bias-batch5"
    said = refused(capsys, "audit", "lora", "--case", case)
    assert "--case: this case belongs to dora, not to lora. Leave the name out." in said


def test_a_change_and_names(capsys: pytest.CaptureFixture[str]) -> None:
    """Two ways to choose variants would be taken for one."""
    said = refused(capsys, "audit", "--changed-since", "HEAD", "dora")
    assert "--changed-since cannot be combined with variant names or --case." in said


def test_a_folder_that_cannot_be_made(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error would be the system's, without the option."""
    (here / "file").write_text("")
    said = refused(capsys, "audit", "--entries", f"{TOYS}:ONE", "--out", "file/x")
    assert "--out file/x: cannot create this folder (Not a directory). Name another one." in said


def test_a_check_of_a_name_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody would look for a check in the list of variants."""
    said = refused(capsys, "new", "check", "forward")
    assert "new check: there is a check 'forward' already. Taken: references, params, " in said


def test_a_class_without_a_colon(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error would be of an import."""
    said = refused(capsys, "new", "entry", "mine.py", "--method", "lora", "--class", "my_lora.MyLoRA")
    assert "--class my_lora.MyLoRA has no colon. Write --class my_lora:MyLoRA (a colon before the class)." in said
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("workers", ["0", "-1", "two", "1.5", "", "\N{SUPERSCRIPT TWO}"])
def test_a_number_of_workers_that_is_none(capsys: pytest.CaptureFixture[str], workers: str) -> None:
    """A run without workers would run nothing."""
    assert "--workers" in refused(capsys, "run", f"--workers={workers}")


NO_ENTRIES = [
    ("nonsense", "there is no module 'nonsense' to import from"),
    ("no.such:ENTRIES", "there is no module 'no' to import from"),
    ("no.py:ENTRIES", "there is no file no.py in"),
    (f"{TOYS}:NO_SUCH", "has no 'NO_SUCH' (found in the file: ENTRIES, SOUND"),
    (f"{TOYS}:SUOND", "Did you mean 'SOUND'?"),
    (TOYS, f"the attribute is missing. Write {TOYS}:ENTRIES (found in the file: ENTRIES, SOUND"),
    (f"{TOYS}:NOT_A_TUPLE", "is a list. Write a tuple of entries"),
    (f"{TOYS}:ODD_CASE", "is of type str. It must be an Entry, a tuple of entries, a Library or a conforms_to test."),
    (":X", "the module is missing. Write MODULE:ATTRIBUTE"),
    ("", "the module is missing. Write MODULE:ATTRIBUTE"),
]


@pytest.mark.parametrize(("place", "why"), NO_ENTRIES)
@pytest.mark.parametrize("command", ["run", "audit", "list"])
def test_entries_that_are_none(
    here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str], command: str, place: str, why: str
) -> None:
    """A misspelt place would audit the roster, or nobody."""
    elsewhere = ["--reports", "reports"] if command == "run" else []
    said = refused(capsys, command, "--entries", place, *elsewhere)
    assert said.splitlines()[-1].startswith("conformance: --entries")
    assert why in said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("def f(:", "cannot read the entry file FILE: line 1: invalid syntax: def f(:"),
        (
            "import conformance\n\nE = conformance.entry('mine', 'lora', print, cod=print)",
            "The entry file FILE raised an error on import, line 3: TypeError: entry() got an unexpected keyword "
            "argument 'cod'. Did you mean 'code'? Correct the file.",
        ),
        ("import no_such_thing", "FILE raised an error on import, line 1: ModuleNotFoundError: No module named 'no_su"),
    ],
)
def test_an_entry_file_that_cannot_be_imported(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, why: str
) -> None:
    """A mistake in the file would end in a traceback, or be blamed on the option."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    name = f"broken_{len(text)}.py"
    Path(name).write_text(text)
    said = refused(capsys, "list", "--entries", f"{name}:E")
    assert why.replace("FILE", name) in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["run", "--nonsense"], ["run", "lora"]])
def test_a_command_that_is_none(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """Doing nothing would be a success."""
    assert "usage: conformance" in refused(capsys, *arguments)


def test_a_revision_outside_git(here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str]) -> None:
    """The revision that verdicts may not fall behind would silently not be looked at."""
    assert "--against main: " in refused(capsys, "run", "--against", "main")


def test_committed_results_that_cannot_be_read(
    here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    """Damaged results would read as none, so that no verdict is worse than before."""
    (here / "reports").mkdir()
    (here / "reports" / "results.json").write_text("{")
    assert "Restore it from git, or delete it." in refused(capsys, "run")


def test_a_run_outside_git_without_a_folder_for_its_cards(
    here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    """It would write its cards into whatever folder somebody happens to be in."""
    said = refused(capsys, "run")
    assert f"got {here}, which is no git checkout" in said
    assert "--reports DIR" in said
    assert list(here.iterdir()) == []


def test_a_folder_with_the_cards_of_others(
    here: Path, answers: dict[str, Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    """The cards of a library would be deleted by a run over another one."""
    row = {"verdict": "CORRECT"}
    (here / "cards").mkdir()
    (here / "cards" / "results.json").write_text(json.dumps({"variants": {"lora": row}}))
    (here / "cards" / "lora.md").write_text("# lora: CORRECT\n")
    said = refused(capsys, "run", "--entries", f"{TOYS}:ONE", "--reports", "cards")
    assert "cards, which holds the cards of lora, want a folder for those of sound alone" in said
    assert sorted(path.name for path in (here / "cards").iterdir()) == ["lora.md", "results.json"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("index", "the name of a report"),
        ("../lora", "want a plain name"),
        ("a b", "want a plain name"),
        ("", "want a plain name"),
        ("1st", "want a plain name"),
    ],
)
def test_an_entry_whose_name_is_no_cards(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, why: str
) -> None:
    """An entry called index would overwrite the index; one with a path, a file anywhere."""
    monkeypatch.setattr(toys, "ONE", (replace(toys.SOUND, name=name),))
    said = refused(capsys, "list", "--entries", f"{TOYS}:ONE")
    assert f"--entries: got the name {name!r}" in said
    assert why in said


def test_two_entries_of_one_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One card would be that of two variants."""
    monkeypatch.setattr(toys, "ONE", (toys.SOUND, toys.SOUND))
    assert "more than once" in refused(capsys, "list", "--entries", f"{TOYS}:ONE")


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf", "soon", ""])
@pytest.mark.parametrize("command", ["run", "audit"])
def test_a_limit_that_is_none(capsys: pytest.CaptureFixture[str], command: str, minutes: str) -> None:
    """A run would end before it began, or never."""
    assert "want a number of minutes above 0" in refused(capsys, command, f"--limit={minutes}")


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("adit",), "Did you mean 'audit'?"),
        (("list", "lora", "--check", "forwrad"), "Did you mean 'forward'?"),
        (
            ("audit", "--case", "lora/peft:lora/grads/x"),
            "--case: unknown check 'grads'. Did you mean 'gradients'? Known: references",
        ),
        (("audit", "--case", "lroa/peft:lora/gradients/x"), "Did you mean 'lora'?"),
        (("audit", "DoRA"), "Did you mean 'dora'?"),
        (("cost", "peesa"), "Did you mean 'pissa'?"),
    ],
)
def test_a_slip_of_the_pen_is_answered_with_what_was_meant(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], meant: str
) -> None:
    """Somebody would look for a name in a list of twenty."""
    assert meant in refused(capsys, *arguments)


def test_nothing_is_suggested_where_nothing_is_near(capsys: pytest.CaptureFixture[str]) -> None:
    """A suggestion would be noise."""
    assert "Did you mean" not in refused(capsys, "audit", "xyzzyx")


@pytest.mark.parametrize(
    ("arguments", "absent", "want"),
    [
        (
            ("audit", "lora"),
            "bitsandbytes",
            "audit: got no bitsandbytes in this environment, want the packages of the extra 'suite'",
        ),
        (
            ("run", "--entries", f"{TOYS}:ONE"),
            "xdist",
            "run: got no xdist in this environment, want the packages of the extra 'run'",
        ),
        (
            ("cost", "lora"),
            "matplotlib",
            "cost: got no matplotlib in this environment, want the packages of the extra 'suite'",
        ),
        (
            ("probe", "--model", ".", "--variant", "lora"),
            "matplotlib",
            "probe: got no matplotlib in this environment, want the packages of the extra 'suite'",
        ),
    ],
)
def test_a_package_of_an_extra_is_not_installed(
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    absent: str,
    want: str,
) -> None:
    """Variants would be UNPROVEN, or a command would end with a traceback, for a package that nobody was told of."""
    (here / "config.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(options, "find_spec", lambda name: None if name == absent else find_spec(name))
    said = refused(capsys, *arguments)
    assert want in said
    assert "python -m pip install 'adapter-conformance[" in said


def test_the_evidence_of_an_audit_is_handed_on(here: Path, answers: dict[str, Finding]) -> None:
    """An audit in another environment would hand back verdicts without the figures behind them."""
    file = here / "given" / "evidence.jsonl"
    cli.main(["audit", "--entries", f"{TOYS}:ONE", "--evidence", str(file)])
    found, machine = last(file)
    assert found.broken == ""
    assert set(found.findings) == set(answers)
    assert machine["versions"]["torch"]
