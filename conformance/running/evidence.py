"""The evidence of a run: one JSON line per finding, between a header and the footer that says it is whole."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.nouns.finding import Finding

FORMAT = 2


@dataclass(frozen=True)
class Evidence:
    """Findings by case id, and why the whole cannot be trusted, if so."""

    findings: dict[str, Finding]
    broken: str = ""


def write(path: Path, findings: Iterable[Finding]) -> None:
    """Write header, findings sorted by case, and footer."""
    ordered = sorted(findings, key=lambda f: f.case)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"evidence": FORMAT})]
    lines += [json.dumps(f.to_json(), sort_keys=True) for f in ordered]
    lines.append(json.dumps({"end": len(ordered)}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read(path: Path) -> Evidence:
    """Read it back; whatever is wrong with the file is said in ``broken``, and what can be read is kept."""
    if not path.is_file():
        return Evidence({}, f"no evidence file at {path.name}: the run never ended")
    rows = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            rows.append(json.loads(line))
    except ValueError:  # not JSON, or not even text
        return Evidence({}, "the evidence file is damaged")
    return gather(rows)


def gather(rows: Iterable[dict[str, Any]]) -> Evidence:
    """Evidence from its rows, header and footer included."""
    rows = list(rows)
    if not rows or rows[0] != {"evidence": FORMAT}:
        return Evidence({}, f"the evidence does not start with its header (format {FORMAT})")
    footer = rows[-1].get("end") if isinstance(rows[-1], dict) else None
    body = rows[1:] if footer is None else rows[1:-1]
    findings: dict[str, Finding] = {}
    for row in body:
        try:
            finding = Finding.from_json(row)
        except (TypeError, ValueError, AttributeError, KeyError):
            return Evidence(findings, "the evidence is damaged: a row is no finding")
        if finding.case in findings:
            return Evidence(findings, f"two findings for {finding.case}")
        findings[finding.case] = finding
    if footer != len(body):
        return Evidence(findings, "the evidence has no footer: the run did not end")
    return Evidence(findings)
