"""From evidence to what the user sees: judged views, files on disk, a short table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from conformance.judging.gate import is_card
from conformance.judging.judge import judge
from conformance.judging.needed import needed
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Finding
from conformance.nouns.verdict import Label
from conformance.planning.plan import make_plan
from conformance.reporting import cards
from conformance.reporting.near import near_limits
from conformance.reporting.rows import NO_FIGURES, Row, counted
from conformance.reporting.view import SECTIONS, CardView
from conformance.running.evidence import Evidence


def judged(entries: Sequence[Entry], found: Evidence, place: str | None = None) -> tuple[CardView, ...]:
    """Plan the entries, judge the evidence, and join both for display."""
    plan = tuple(p.case for p in make_plan(entries))
    names = [entry.name for entry in entries]
    declared = {entry.name: entry.deviations for entry in entries}
    asked = {entry.name: needed(entry) for entry in entries}
    verdicts = judge(names, plan, found.findings, declared, needed=asked, broken=found.broken)
    return cards.views(entries, verdicts, plan, place)


def render(shown: tuple[CardView, ...]) -> dict[str, str]:
    """File name -> contents."""
    return cards.render(shown)


def write(folder: Path, files: dict[str, str]) -> None:
    """Put the files in ``folder`` and remove cards of variants that are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.md"):
        if path.name not in files and is_card(path.name, path.read_text(encoding="utf-8", errors="replace")):
            path.unlink()
    for name, text in files.items():
        whole = folder / f".{name}.part"
        whole.write_text(text, encoding="utf-8", newline="\n")
        whole.replace(folder / name)


def print_table(shown: tuple[CardView, ...], folder: Path) -> None:
    """Verdicts, sections and the cards' places."""
    header = ("variant", *(name for name, _ in SECTIONS), "verdict", "card")
    rows = [
        (v.name, *(v.section(checks) for _, checks in SECTIONS), v.verdict.label.value, str(folder / f"{v.name}.md"))
        for v in shown
    ]
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    print()
    for cells in (header, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    for view in shown:
        for same in _together(view.must_fix()):
            print(f"\nMUST-FIX {view.name}: {_told(same)}")
            if figures := _figures(view.verdict.findings.get(same[0].case)):
                print(f"  {figures}")
            print(f"  {view.command(same[0])}")
    near = near_limits(finding for view in shown for finding in view.verdict.findings.values())
    for line in near:
        print(f"Close to the limit: {line}", file=sys.stderr)
    if near:
        print("Another CPU may round these to the other side. No card depends on them.", file=sys.stderr)
    print(f"\n{cards.label_counts(shown)}. Summary: {folder / cards.INDEX}")


def _together(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows that say the same of different references as one; those of the output first."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.text.partition("; also differ")[0], []).append(row)
    return sorted(groups.values(), key=lambda found: "/forward/" not in found[0].case)


def _told(rows: Sequence[Row]) -> str:
    """The first row's text, with the number of cases of all, and the references if there are several."""
    references = dict.fromkeys(row.case.split("/")[1] for row in rows if row.case.count("/") >= 3)
    text = rows[0].text.replace(NO_FIGURES, "") + (f" (against {', '.join(references)})" if len(references) > 1 else "")
    return counted(sum(len(row.cases) for row in rows), text)


def _figures(finding: Finding | None) -> str:
    """What was measured in the case that the command shows."""
    if finding is None or not (finding.numeric and finding.limit):
        return ""
    return f"got {finding.got}, want {finding.want}; error {finding.error:.3g}, limit {finding.limit:.3g}"


def status(shown: tuple[CardView, ...]) -> int:
    """1 unless every view is CORRECT or PARTIAL, and there is one."""
    return 0 if shown and all(v.verdict.label in (Label.CORRECT, Label.PARTIAL) for v in shown) else 1


def print_online(entries: Sequence[Entry], *, aside: bool = False) -> int:
    """Follow the links; 1 if one does not serve what the lock says. `conformance record links` keeps what is seen.

    ``aside``: print on standard error.
    """
    from conformance.reporting.online import follow

    rows = follow(entries)
    for row in rows:
        print(
            f"{'ok  ' if row.ok else 'FAIL'} {row.variant}: {row.seen.what} {row.seen.url}: {row.seen}",
            file=sys.stderr if aside else None,
        )
    return 0 if all(row.ok for row in rows) else 1
