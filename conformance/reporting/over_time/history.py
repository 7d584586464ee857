"""Verdicts through the revisions of git that committed ``results.json``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.judging.gate import RESULTS
from conformance.nouns.verdict import Label
from conformance.planning.revisions import git


@dataclass(frozen=True)
class Revision:
    """A commit that changed the results: its short hash, its subject line, and each variant's verdict then."""

    commit: str
    subject: str
    verdicts: Mapping[str, str]

    @property
    def counts(self) -> str:
        """``3 PARTIAL, 11 CORRECT``, the worst first."""
        seen = Counter(self.verdicts.values())
        return ", ".join(f"{seen[label]} {label}" for label in Label if seen[label]) or "nothing audited"


def history(reports: Path) -> tuple[Revision, ...]:
    """Oldest first. Empty outside git, and where nothing is committed. A file that is no run's result is left out."""
    folder = reports.absolute()
    if not folder.is_dir():
        return ()
    log = git(folder, "log", "--reverse", "--format=%H%x09%h%x09%s", "--", RESULTS)
    made = []
    for line in (log or "").splitlines():
        commit, short, subject = line.split("\t", 2)
        results = at(reports, commit)
        if results is not None:
            made.append(Revision(short, subject, {name: row["verdict"] for name, row in results.items()}))
    return tuple(made)


def at(reports: Path, revision: str) -> dict[str, Any] | None:
    """Variant -> its result as committed in a revision; None if there is none, or none that can be read."""
    return variants_in(git(reports.absolute(), "show", f"{revision}:./{RESULTS}"))


def variants_in(text: str | None) -> dict[str, Any] | None:
    """Variant -> its row in the text of a ``results.json``; None if it is none."""
    try:
        variants = json.loads(text)["variants"] if text is not None else None
        return {name: row for name, row in variants.items() if row["verdict"] in set(Label)} if variants else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
