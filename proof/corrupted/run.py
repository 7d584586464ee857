"""Corrupt copies of the installed peft, and have the cards of the variants concerned judged beside them."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from conformance.nouns.entry import ROOT
from conformance.nouns.verdict import Label
from proof.ask import QUICK_CHECKS
from proof.corrupted.edits import COPIES, Corruption, corrupt
from proof.pool import each

SECONDS = 300


@dataclass(frozen=True)
class Turned:
    """What the card says of a right variant beside a corrupted reference.

    ``locked``: with the lock, as in every audit. ``unlocked``: without it. ``at_fault``: in how many cases the closed
    form then convicts the reference. ``alone``: without lock and closed form.
    """

    name: str
    variant: str
    where: str
    locked: str
    unlocked: str
    at_fault: int
    alone: str

    @property
    def problems(self) -> list[str]:
        """What is not as it must be: drift gives UNPROVEN, and without lock and witness the difference shows."""
        told = f"{self.name} in peft's {self.variant}"
        found = []
        if self.locked != Label.UNPROVEN.value:
            found.append(f"{told}: {self.locked} with the lock, want UNPROVEN")
        if self.alone != Label.BUGGY.value:
            found.append(f"{told}: {self.alone} without lock and closed form, want BUGGY")
        if self.unlocked != Label.BUGGY.value and not self.at_fault:
            found.append(f"{told}: {self.unlocked} without the lock, and nobody at fault")
        return found


def run(
    workers: int, copies: Sequence[Sequence[Corruption]] = COPIES, checks: Sequence[str] = QUICK_CHECKS
) -> list[Turned]:
    """Every corruption before these checks and the one of the lock, one process per copy."""
    return [row for rows in each(partial(_one_copy, checks=checks), copies, workers) for row in rows]


def _one_copy(corruptions: Sequence[Corruption], checks: Sequence[str]) -> list[Turned]:
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "peft"
        spec = importlib.util.find_spec("peft")
        assert spec is not None
        assert spec.origin is not None
        shutil.copytree(Path(spec.origin).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
        for corruption in corruptions:
            corrupt(package, corruption)
        told = _cards(Path(folder), [c.variant for c in corruptions], checks)
    return [_row(c, told[c.variant]) for c in corruptions]


def _cards(folder: Path, names: list[str], checks: Sequence[str]) -> dict[str, dict[str, Any]]:
    path = os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "proof.corrupted.cards", "--checks", ",".join(checks), *names],
        env={**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"judging beside a corrupted peft: got exit status {done.returncode}: {done.stderr[-2000:]}")
    told: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    for name, card in told.items():
        if not Path(card["peft"]).is_relative_to(folder):
            raise RuntimeError(f"{name} was judged beside {card['peft']}, want the copy in {folder}")
    return told


def _row(corruption: Corruption, card: dict[str, Any]) -> Turned:
    return Turned(
        corruption.name,
        corruption.variant,
        corruption.where,
        card["locked"],
        card["unlocked"],
        card["at_fault"],
        card["alone"],
    )
