"""Verdicts -> cards, index and machine-readable results. Pure: the same verdicts give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from conformance.judging.gate import RESULTS
from conformance.measuring.compare import BARE_EPS_SHARE, LOW_PRECISION_FACTOR
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Case
from conformance.nouns.verdict import Verdict
from conformance.reporting.directions import pairings, senses
from conformance.reporting.rows import shared
from conformance.reporting.tables import compared, not_covered, steps
from conformance.reporting.view import SECTIONS, WAYS, CardView, label_counts

INDEX = "index.md"
FORMAT = 3
TEMPLATES = Path(__file__).with_name("templates")


def views(
    entries: Sequence[Entry], verdicts: Sequence[Verdict], plan: Iterable[Case], place: str | None = None
) -> tuple[CardView, ...]:
    """Join what is known about each variant. ``place``: where the entries are, if they are not this repository's."""
    cases = tuple(plan)
    return tuple(
        CardView(entry, verdict, tuple(c for c in cases if c.variant == entry.name), place or "")
        for entry, verdict in zip(entries, verdicts, strict=True)
    )


def render(shown: tuple[CardView, ...]) -> dict[str, str]:
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
    files = {f"{view.name}.md": card.render(view=view, entry=view.entry, **_tables(view)) for view in shown}
    index = environment.get_template("index.md.j2")
    must, notes = (shared(row for view in shown for row in pick(view)) for pick in (CardView.must_fix, CardView.notes))
    of = {view.name: view for view in shown}
    files[INDEX] = index.render(
        command=lambda row: of[row.variant].command(row),
        views=shown,
        sections=SECTIONS,
        ways=WAYS,
        counts=label_counts(shown),
        must=must,
        notes=notes,
    )
    files[RESULTS] = json.dumps(results(shown), indent=2, sort_keys=True) + "\n"
    return files


def _tables(view: CardView) -> dict[str, Any]:
    return {
        "verdict": view.verdict,
        "baselines": compared(view),
        "not_covered": not_covered(view),
        "steps": steps(view),
        "senses": senses(view),
        "pairings": pairings(view),
        "factor": LOW_PRECISION_FACTOR,
        "share": BARE_EPS_SHARE,
        "kept": len(view.findings("space")) - view.coverage.points - 1 if view.coverage is not None else 0,
    }


def results(shown: tuple[CardView, ...]) -> dict[str, Any]:
    """Verdicts and findings as data (``results.schema.json``); no measured figures."""
    return {"format": FORMAT, "variants": {view.name: _result(view) for view in shown}}


def _result(view: CardView) -> dict[str, Any]:
    verdict = view.verdict
    return {
        "verdict": verdict.label.value,
        "reason": verdict.reason,
        "planned": len(view.planned),
        "sections": {name: view.section(checks) for name, checks in SECTIONS},
        "ways": {name: view.way(check, pattern) for name, check, pattern in WAYS},
        "findings": [
            {
                "severity": row.severity.value,
                "note": row.note.value if row.note else "",
                "case": row.case,
                "cases": len(row.cases),
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
