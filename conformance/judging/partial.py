"""The gate of a run that audited some variants only: it judges them, and leaves the committed reports alone.

The index is made of every variant's findings, and a partial run has not asked for the others'. So the cards of those
that it audited go aside. It says which committed ones would change, and stays shut until a whole run has rendered them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from conformance.judging.gate import RESULTS, Gate, check, committed_text
from conformance.nouns.verdict import Label, Verdict
from conformance.planning.changed import Change


def gate(
    verdicts: tuple[Verdict, ...],
    files: Mapping[str, str],
    *,
    reports: Path,
    committed: Mapping[str, Label],
    change: Change,
    roster: Iterable[str],
) -> Gate:
    """Closed by a verdict that closes the whole run's gate, by a card that would change, by a variant of the roster
    whose files were not found.
    """
    audited = {name: label for name, label in committed.items() if name in {verdict.variant for verdict in verdicts}}
    closed = check(verdicts, audited, ())
    names = [verdict.variant for verdict in verdicts]
    stale = [f"{name}.md" for name in names if committed_text(reports / f"{name}.md", "") != files[f"{name}.md"]]
    staged, rendered = committed_text(reports / RESULTS, ""), files[RESULTS]
    stale += [f"{RESULTS} (its row of {name})" for name in names if _row(staged, name) != _row(rendered, name)]
    reasons = [f"{reports.name}/{name} would change: render all with `conformance run`, and commit" for name in stale]
    reasons += [
        f"{name} is in the roster, and --changed-since did not find its files: run without it"
        for name in sorted(set(roster) - change.known)
    ]
    return Gate((*closed.reasons, *reasons))


def _row(results: str | None, name: str) -> object:
    """A variant's row in the results; None where there is none."""
    try:
        return json.loads(results or "{}")["variants"][name]
    except (ValueError, KeyError, TypeError):
        return None
