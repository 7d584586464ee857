"""The tutorial, block by block: every file is written, every command run, and it prints what the page shows."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.site.conftest import ROOT

PAGE = ROOT / "docs" / "tutorial.md"
PROGRAMS = {
    "conformance": ("-m", "conformance"),
    "pytest": ("-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist"),
}
STATUS = {"conformance audit --entries audit_mine.py:ENTRY": [1, 0]}
"""Exit statuses of what is run more than once; all else ends with 0, but for the one case that differs."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and its text."""

    language: str
    text: str


def blocks(text: str) -> list[Block]:
    """The fenced blocks in order."""
    return [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


def commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that it is said to print."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, *lines = part.rstrip("\n").split("\n")
        yield command, lines


def missing(shown: list[str], printed: str) -> str:
    """The first shown line that was not printed in its place; ``...`` stands for any text or any lines."""
    rest = printed.splitlines()
    for line in shown:
        if line == "...":
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in line.rstrip().split("...")))
        place = next((n for n, each in enumerate(rest) if pattern.fullmatch(each.rstrip())), None)
        if place is None:
            return line
        rest = rest[place + 1 :]
    return ""


@pytest.mark.integration
@pytest.mark.timeout(1200)
def test_the_tutorial_runs_block_by_block(tmp_path: Path) -> None:
    """A reader would follow the page and see something else, or the mended module would not be CORRECT."""
    statuses = {command: list(wanted) for command, wanted in STATUS.items()}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "COLUMNS": "200"}
    ran = 0
    for block in blocks(PAGE.read_text(encoding="utf-8")):
        if block.language == "python":
            name = re.match(r"# (\w+\.py)\n", block.text)
            assert name is not None, block.text
            (tmp_path / name[1]).write_text(block.text, encoding="utf-8")
            continue
        assert block.language == "console"
        for command, shown in commands(block):
            program, *arguments = shlex.split(command)
            done = subprocess.run(
                [sys.executable, *PROGRAMS[program], *arguments],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            told = f"{command}\n{done.stdout}\n{done.stderr}"
            assert done.returncode == (statuses.get(command) or [int("--case" in command)]).pop(0), told
            assert missing(shown, done.stdout) == "", told
            ran += 1
    assert ran == 7
    assert not any(statuses.values())
    card = (tmp_path / ".conformance" / "reports" / "mylora_lora.md").read_text(encoding="utf-8")
    assert card.startswith("# mylora_lora: CORRECT\n")


@pytest.mark.parametrize(
    ("shown", "printed", "want"),
    [
        (["a", "...", "c"], "a\nb\nc\n", ""),
        (["a...z"], "abcz\n", ""),
        (["c", "a"], "a\nb\nc\n", "a"),
        (["a"], "ab\n", "a"),
        (["a.c"], "abc\n", "a.c"),
    ],
)
def test_what_is_shown_is_looked_for_in_order(shown: list[str], printed: str, want: str) -> None:
    """The test above would pass whatever is printed."""
    assert missing(shown, printed) == want
