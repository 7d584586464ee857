"""Verdicts -> cards, index and machine-readable results. Pure: the same verdicts give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from conformance.judging.gate import RESULTS
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Case
from conformance.nouns.verdict import Verdict
from conformance.reporting.view import SECTIONS, WAYS, View, label_counts

INDEX = "index.md"
FORMAT = 1
TEMPLATES = Path(__file__).with_name("templates")


def views(entries: Sequence[Entry], verdicts: Sequence[Verdict], plan: Iterable[Case]) -> tuple[View, ...]:
    """Join what is known about each variant."""
    cases = tuple(plan)
    return tuple(
        View(entry, verdict, tuple(c for c in cases if c.variant == entry.name))
        for entry, verdict in zip(entries, verdicts, strict=True)
    )


def render(shown: tuple[View, ...]) -> dict[str, str]:
    """File name -> contents: one card per variant, the index, the results."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    card = environment.get_template("card.md.j2")
    files = {f"{view.name}.md": card.render(view=view, entry=view.entry, verdict=view.verdict) for view in shown}
    index = environment.get_template("index.md.j2")
    files[INDEX] = index.render(views=shown, sections=SECTIONS, ways=WAYS, counts=label_counts(shown))
    files[RESULTS] = json.dumps(results(shown), indent=2, sort_keys=True) + "\n"
    return files


def results(shown: tuple[View, ...]) -> dict[str, Any]:
    """Verdicts and findings as data (``results.schema.json``); no measured figures."""
    return {"format": FORMAT, "variants": {view.name: _result(view) for view in shown}}


def _result(view: View) -> dict[str, Any]:
    verdict = view.verdict
    return {
        "verdict": verdict.label.value,
        "reason": verdict.reason,
        "planned": len(view.planned),
        "sections": {name: view.section(checks) for name, checks in SECTIONS},
        "findings": [
            {
                "severity": row.severity.value,
                "case": row.case,
                "text": row.text,
                "subject": row.subject_location,
                "reference": row.reference_location,
            }
            for row in view.rows
        ],
        "deviations": [
            {
                "what": d.what,
                "why": d.why,
                "link": d.link,
                "scope": d.scope,
                "by_default": d.by_default,
                "cases": list(where),
            }
            for d, where in verdict.declared
        ],
    }
