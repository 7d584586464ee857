"""What the command line answers without torch, and that the cheap names are the real ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.checks.registry import CHECKS
from conformance.cli import main
from conformance.planning.names import READING, check_names
from conformance.planning.select import own_names
from subjects.own.names import listed
from subjects.own.roster import ENTRIES

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, sys
from conformance.cli import main
try:
    status = main(sys.argv[1:])
except SystemExit as stop:
    status = stop.code
print(json.dumps([status, sorted({"torch", "peft", "numpy", "variants"} & set(sys.modules))]))
"""


def conformance(*arguments: str, start: tuple[str, ...] = ("-c", PROGRAM)) -> subprocess.CompletedProcess[str]:
    """The command line in a fresh process."""
    command = [sys.executable, "-P", *start, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("--help",), 0),
        (("--version",), 0),
        (("list",), 0),
        (("list", "--help"), 0),
        (("run", "--help"), 0),
        (("audit", "--help"), 0),
        (("nonsense",), 2),
        (("run", "--workers=none"), 2),
        (("audit", "lroa"), 2),
        (("list", "lroa"), 2),
        (("cost", "lroa"), 2),
        (("audit", "--case", "lora/peft:lora/forwrad/x"), 2),
        (("audit", "--case", ""), 2),
        (("probe", "--help"), 0),
        (("probe", "--model", "none", "--variant", "lora"), 2),
        (("probe", "--model", "none", "--variant", "lroa"), 2),
        (("audit", "lora", "--changed-since", "HEAD"), 2),
        (("new", "variant", "lora"), 2),
        (("new", "check", "no-name"), 2),
    ],
)
def test_without_torch(arguments: tuple[str, ...], status: int) -> None:
    """A list of names, or an answer to a slip of the pen, would take seconds."""
    done = conformance(*arguments)
    assert json.loads(done.stdout.splitlines()[-1]) == [status, []], done.stderr


def test_the_cheap_names_are_the_real_ones() -> None:
    """A variant or check would be audited that the command line denies, or the other way round."""
    assert own_names() == listed() == tuple((entry.name, entry.location) for entry in ENTRIES)
    assert check_names() == tuple(check.name for check in CHECKS)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ENTRIES = [A]\n", "got no tuple ENTRIES"),
        ("ENTRIES = (A,)\n", "got A, want a row imported from here"),
        ("from subjects.own.rows import A\nENTRIES = (A,)\n", "got A, want a row imported from here"),
    ],
)
def test_a_roster_in_another_form(tmp_path: Path, text: str, told: str) -> None:
    """The list of variants would be silently short."""
    own = tmp_path / "subjects" / "own"
    own.mkdir(parents=True)
    (tmp_path / "variants").mkdir()
    (own / "roster.py").write_text(text)
    (own / "rows.py").write_text("A = make('lora')[0]\n")
    with pytest.raises(ValueError, match=told):
        listed(tmp_path)


@pytest.mark.parametrize("start", [("-m", "conformance"), ("-m", "conformance.cli")])
def test_both_modules_are_the_command(start: tuple[str, ...]) -> None:
    """``python -m conformance.cli run`` would print nothing and end with status 0."""
    assert conformance("list", start=start).stdout == conformance("list").stdout.rpartition("[0, ")[0]
    assert conformance("nonsense", start=start).returncode == 2


def test_the_version_is_that_of_the_project() -> None:
    """A report of a bug could not say with what it was seen."""
    assert conformance("--version", start=("-m", "conformance")).stdout.startswith("conformance 0.1.0 (peft 0.21.2,")


def test_the_help_says_how_to_read_a_case() -> None:
    """Nobody could tell what ``batch5`` or ``f32+bf16`` in a case's id means."""
    for command in ("list", "audit"):
        assert READING in conformance(command, "--help").stdout
    for word in ("perturbed", "f32+bf16", "alpha6", "nobias", "batch5", "nobatch", "train"):
        assert word in READING


HELPS = {
    "fuzz": ("seed of the random search",),
    "probe": ("set an option, such as r=16; may be repeated", "names of layers (default: every linear layer)"),
    "history": ("folder of the committed results",),
    "diff": ("OLD", "NEW", "the new one (default: what is on disk)"),
    "list": ("grad=inference", "life=written", "by=3.0", "calls=again", "use this entry, tuple of entries or library"),
    "run": ("folder for the cards. Default: reports/ of a git checkout; with --entries",),
}


@pytest.mark.parametrize("command", HELPS)
def test_the_help_says_what_an_option_does(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody would have to read the code to learn what a seed, or a part of a case's id, is."""
    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert [text for text in HELPS[command] if text not in said] == []
