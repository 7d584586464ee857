"""The gate of a run that audited some variants only: it judges them, and leaves the committed reports alone.

The index is made of every variant's findings, and a partial run has not asked for the others'. So the cards of those
that it audited go aside. It says which committed ones would change, and stays shut until a whole run has rendered them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from conformance.cards import results
from conformance.changed import Change
from conformance.gate import RESULTS, Gate, check, committed_text
from conformance.model import Label
from conformance.view import View


def gate(
    shown: tuple[View, ...],
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
    audited = {name: label for name, label in committed.items() if name in {view.name for view in shown}}
    closed = check(tuple(view.verdict for view in shown), audited, ())
    cards = [f"{view.name}.md" for view in shown]
    stale = [name for name in cards if committed_text(reports / name, "") != files[name]]
    stale += [f"{RESULTS} (its row of {view.name})" for view in shown if _row(reports, view.name) != _now(view)]
    reasons = [f"{reports.name}/{name} would change: render all with `conformance run`, and commit" for name in stale]
    reasons += [
        f"{name} is in the roster, and --changed-since did not find its files: run without it"
        for name in sorted(set(roster) - change.known)
    ]
    return Gate((*closed.reasons, *reasons))


def _row(reports: Path, name: str) -> object:
    """A variant's row in the staged results; None where there is none."""
    try:
        return json.loads(committed_text(reports / RESULTS, "") or "{}")["variants"][name]
    except (ValueError, KeyError, TypeError):
        return None


def _now(view: View) -> object:
    return json.loads(json.dumps(results((view,))["variants"][view.name]))
