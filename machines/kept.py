"""Results that are kept between runs, so that rows run one at a time still make one table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machines.audit import Outcome, Result
from machines.machine import Machine, together


def merged(path: Path, new: Sequence[Result], machines: Sequence[Machine], **run: str) -> list[Result]:
    """The kept results of the same run and the new ones, written to ``path``; in the order of ``machines``.

    ``run``: what the results belong to (commit, computer, what was run). Results of another run are dropped: a row
    that passed on one commit shows nothing about the next. A file that cannot be read counts as none.
    """
    rows = {result.machine.name: result for result in _read(path, machines, run)}
    rows |= {result.machine.name: result for result in new}
    names = [machine.name for machine in machines if machine.name in rows]
    names += [name for name in rows if name not in names]
    results = [rows[name] for name in names]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"run": run, "rows": [_plain(result) for result in results]}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")
    return results


def _read(path: Path, machines: Sequence[Machine], run: dict[str, str]) -> list[Result]:
    known = {machine.name: machine for machine in machines if not machine.parts}
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["run"] != run:
            return []
        rows = [row for row in kept["rows"] if all(part in known for part in row["machine"].split("+"))]
        return [_result(row, _machine(row["machine"], known)) for row in rows]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _machine(name: str, known: dict[str, Machine]) -> Machine:
    parts = [known[part] for part in name.split("+")]
    return together(*parts) if len(parts) > 1 else parts[0]


def _plain(result: Result) -> dict[str, Any]:
    return {
        "machine": result.machine.name,
        "outcome": result.outcome.value,
        "files": list(result.files),
        "why": result.why,
        "note": result.note,
    }


def _result(row: dict[str, Any], machine: Machine) -> Result:
    return Result(machine, Outcome(row["outcome"]), tuple(row["files"]), row["why"], row["note"])
