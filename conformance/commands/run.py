"""``conformance run``: audit through pytest, render the reports, and compare with what is committed."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.commands.options import (
    RUN,
    SINCE,
    VARIANTS,
    WORK,
    Commands,
    add_entries,
    add_limit,
    change_since,
    positive,
    require_installed,
    require_usable,
)
from conformance.planning.names import BadRequest

if TYPE_CHECKING:
    from conformance.judging.gate import Gate
    from conformance.nouns.entry import Entry
    from conformance.nouns.verdict import Label
    from conformance.planning.changed import Change
    from conformance.reporting.view import CardView

REPORTS = Path("reports")


def add_to(commands: Commands) -> None:
    """Say what ``run`` takes."""
    parser = commands.add_parser("run", help="audit every variant through pytest, render reports/, and gate")
    parser.add_argument("--workers", type=positive, default=2, help="processes that run the cases (default 2)")
    parser.add_argument(
        "--reports",
        type=Path,
        help="folder for the cards. Default: reports/ of a git checkout; with --entries .conformance/subjects/...",
    )
    parser.add_argument("--against", metavar="REV", help="git revision whose verdicts may not get worse (default HEAD)")
    parser.add_argument("--changed-since", metavar="REV", help=SINCE + "; compared with that revision's verdicts")
    parser.add_argument("--online", action="store_true", help="also follow the references' links")
    parser.add_argument("--json", action="store_true", help="print verdicts, findings and the gate as plain data")
    add_limit(parser)
    add_entries(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Status 0 if the gate is open."""
    from conformance.judging import gate

    change = change_since(options)
    given = options.reports is not None
    reports = options.reports if given else REPORTS if options.entries is None else _own_folder(options.entries)
    committed = gate.committed_labels(reports, options.against or options.changed_since or "HEAD")
    if not given and options.entries is None and change is None and not _in_git(reports):
        raise BadRequest(
            f"run: got {Path.cwd()}, which is no git checkout, want one: reports/ is compared with what is committed. "
            "Name a folder for the cards with --reports DIR, or use `conformance audit`."
        )
    options.reports = reports
    if change is not None and not change.everything:
        return _some(options, change, committed)
    return _all(options, committed)


def _all(options: argparse.Namespace, committed: Mapping[str, Label]) -> int:
    from conformance.judging import gate
    from conformance.running import collect
    from conformance.running.background import Background
    from conformance.running.children import held

    require_installed("run", RUN if options.entries is not None else (*RUN, *VARIANTS))
    require_usable(options)
    file = WORK / "evidence.jsonl"
    with Background(
        lambda: collect.through_pytest(
            file, workers=options.workers, entries=options.entries, minutes=options.limit, aside=options.json
        )
    ) as child:
        from conformance.planning.plan import make_plan
        from conformance.planning.select import entries_at
        from conformance.reporting import report

        entries = entries_at(options.entries)
        make_plan(entries)  # keeps the covering arrays, which judging needs, while there is time
        found = child.result()
    if options.entries is not None:
        _require_own(options.reports, committed, [entry.name for entry in entries])
    shown = report.judged(entries, found, options.entries)
    files = report.render(shown)
    committable = _in_git(options.reports) and not options.reports.is_relative_to(WORK)
    stale = gate.stale_files(options.reports, files) if committable else ()
    with held():
        report.write(options.reports, files)
    closed = gate.check(tuple(v.verdict for v in shown), committed, stale)
    return _tell(options, shown, options.reports, closed, entries)


def _some(options: argparse.Namespace, change: Change, committed: Mapping[str, Label]) -> int:
    """The gate of the affected variants alone."""
    if change.reports:
        print("reports/ has changed, too: whether it is up to date, only a whole run can tell", file=sys.stderr)
    if not change.variants:
        if options.json:
            print(json.dumps({"variants": {}, "gate": {"status": 0, "reasons": []}}, indent=2))
        return 0
    from conformance.running import collect
    from conformance.running.background import Background
    from conformance.running.children import held

    out = WORK / "reports"
    names = tuple(change.variants)
    with Background(
        lambda: collect.in_a_child(names, None, lambda done: None, workers=options.workers, minutes=options.limit)
    ) as child:
        from conformance.judging import partial
        from conformance.planning.select import choose, entries_at
        from conformance.reporting import report

        entries = choose(names, entries_at(None))
        found = child.result()
    shown = report.judged(entries, found)
    files = report.render(shown)
    with held():
        report.write(out, files)
    roster = [entry.name for entry in entries_at(None)]
    verdicts = tuple(view.verdict for view in shown)
    closed = partial.gate(verdicts, files, reports=options.reports, committed=committed, change=change, roster=roster)
    return _tell(options, shown, out, closed, entries)


def _tell(
    options: argparse.Namespace, shown: tuple[CardView, ...], folder: Path, closed: Gate, entries: Sequence[Entry]
) -> int:
    """Print the verdicts, then why the gate is closed, if it is; the status."""
    from conformance.reporting import report
    from conformance.reporting.cards import results

    if options.json:
        state = {"status": closed.status, "reasons": list(closed.reasons)}
        print(json.dumps({**results(shown), "gate": state}, indent=2, sort_keys=True))
    else:
        report.print_table(shown, folder)
    for reason in closed.reasons:
        print(f"GATE: {reason}", file=sys.stderr)
    return max(closed.status, report.print_online(entries, aside=options.json) if options.online else 0)


def _in_git(reports: Path) -> bool:
    """Whether this folder is, or will be, in a git checkout. Without git installed, what lies there is compared."""
    return any((folder / ".git").exists() for folder in reports.absolute().parents)


def _own_folder(entries: str) -> Path:
    """Where the cards of other people's entries go: never among this repository's."""
    return WORK / "subjects" / re.sub(r"\W+", "-", entries)


def _require_own(reports: Path, committed: Mapping[str, Label], names: Sequence[str]) -> None:
    """BadRequest if the folder holds the cards of variants that are not audited: they would be deleted."""
    others = sorted(set(committed) - set(names))
    if others:
        raise BadRequest(
            f"--reports: got {reports}, which holds the cards of {', '.join(others[:3])}, want a folder for those of "
            f"{', '.join(names[:3])} alone. Leave --reports out: they go to a folder of their own."
        )
