"""The evidence of a run: one JSON line per finding, between a header and the footer that says it is whole."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.nouns.finding import Finding

FORMAT = 3
ENVIRONMENT = "environment.json"


@dataclass(frozen=True)
class Evidence:
    """Findings by case id, and why the whole cannot be trusted, if so."""

    findings: dict[str, Finding]
    broken: str = ""


def new_nonce() -> str:
    """A name for one run: in the file's name, its header and its footer."""
    return secrets.token_hex(8)


def place_of(file: Path, nonce: str) -> Path:
    """Where the run of this nonce writes: a file of its own, beside the one that shows the last whole run."""
    return file.with_name(f"{file.stem}-{nonce}{file.suffix}")


def header(nonce: str, environment: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The first row."""
    return {"evidence": FORMAT, "nonce": nonce, "environment": dict(environment or {})}


def footer(nonce: str, count: int) -> dict[str, Any]:
    """The last row: how many findings there must be."""
    return {"end": count, "nonce": nonce}


def write(
    path: Path, findings: Iterable[Finding], *, nonce: str = "", environment: Mapping[str, Any] | None = None
) -> None:
    """Write header, findings sorted by case, and footer."""
    write_rows(path, [f.to_json() for f in findings], nonce=nonce, environment=environment)


def write_rows(
    path: Path, rows: Iterable[dict[str, Any]], *, nonce: str = "", environment: Mapping[str, Any] | None = None
) -> None:
    """The same of findings that are plain data already."""
    ordered = sorted(rows, key=lambda row: str(row["case"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(header(nonce, environment))]
    lines += [json.dumps(row, sort_keys=True) for row in ordered]
    lines.append(json.dumps(footer(nonce, len(ordered))))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def publish(path: Path, final: Path, environment: Mapping[str, Any]) -> None:
    """Give a run's file the name under which people look for the last run's, with the machine's description beside."""
    if path.is_file():
        path.replace(final)
    whole = final.with_name(f".{ENVIRONMENT}.{os.getpid()}")
    whole.parent.mkdir(parents=True, exist_ok=True)
    whole.write_text(json.dumps(environment, indent=2) + "\n", encoding="utf-8")
    whole.replace(final.with_name(ENVIRONMENT))


def read(path: Path, nonce: str = "") -> Evidence:
    """Read it back; whatever is wrong with the file is said in ``broken``, and what can be read is kept."""
    if not path.is_file():
        return Evidence({}, "no evidence arrived: the run never ended")
    rows = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            rows.append(json.loads(line))
    except ValueError:  # not JSON, or not even text
        return Evidence({}, "the evidence file is damaged")
    return gather(rows, nonce)


def last(path: Path) -> tuple[Evidence, dict[str, Any]]:
    """A file of a run whose name nobody knows any more, as it stands, and its header's description of the machine."""
    try:
        with path.open(encoding="utf-8") as file:
            first = json.loads(file.readline())
    except ValueError:
        return Evidence({}, "the evidence file is damaged"), {}
    named = first if isinstance(first, dict) else {}
    environment = named.get("environment")
    return read(path, named.get("nonce", "")), environment if isinstance(environment, dict) else {}


def gather(rows: Iterable[dict[str, Any]], nonce: str = "") -> Evidence:
    """Evidence from its rows, header and footer included; both must name the run that was asked for."""
    rows = list(rows)
    first = rows[0] if rows and isinstance(rows[0], dict) else {}
    if first.get("evidence") != FORMAT:
        return Evidence({}, f"the evidence does not start with its header (format {FORMAT})")
    if first.get("nonce") != nonce:
        return Evidence({}, "the evidence is that of another run")
    last = rows[-1] if isinstance(rows[-1], dict) else {}
    end = last.get("end")
    body = rows[1:] if end is None else rows[1:-1]
    findings: dict[str, Finding] = {}
    for row in body:
        try:
            finding = Finding.from_json(row)
        except (TypeError, ValueError, AttributeError, KeyError):
            return Evidence(findings, "the evidence is damaged: a row is no finding")
        if finding.case in findings:
            return Evidence(findings, f"two findings for {finding.case}")
        findings[finding.case] = finding
    if end != len(body):
        return Evidence(findings, "the evidence has no footer: the run did not end")
    if last.get("nonce") != nonce:
        return Evidence(findings, "the evidence ends with the footer of another run")
    return Evidence(findings)
