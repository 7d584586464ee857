"""The command line: list, audit without pytest, run the whole audit with its gate, measure costs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conformance.nouns.verdict import Label
    from conformance.planning.changed import Change

WORK = Path(".conformance")
"""Where raw evidence and the cards of partial audits go. Not committed."""

SINCE = "only the variants that a change since this git revision can affect"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 all is well, 1 the gate is closed, 2 the request makes no sense, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except BrokenPipeError:
        # Whoever read the output has enough of it. Nothing may be flushed into the closed pipe at exit. The gate may
        # not have been asked yet, so this is no success: it is what a shell says of a program that SIGPIPE ended.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("conformance: interrupted; no card was touched", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="conformance", description="Measure adapter variants against their references and write verdict cards."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    entries: Any = {"metavar": "MODULE:ATTRIBUTE", "help": "audit this tuple of entries instead of the roster"}

    run = commands.add_parser("run", help="audit every variant through pytest, render reports/, and gate")
    run.add_argument("--workers", type=_positive, default=2, help="processes that run the cases (default 2)")
    run.add_argument("--reports", type=Path, default=Path("reports"), help="where the cards go (default reports/)")
    run.add_argument("--against", metavar="REV", help="git revision whose verdicts may not get worse (default HEAD)")
    run.add_argument("--changed-since", metavar="REV", help=SINCE + "; held against that revision's verdicts")
    run.add_argument("--online", action="store_true", help="also follow the references' links")
    run.add_argument("--entries", **entries)
    run.set_defaults(command=_run)

    audit = commands.add_parser("audit", help="audit some variants without pytest; nothing committed is touched")
    audit.add_argument("variants", nargs="*", metavar="VARIANT", help="all if none is named")
    audit.add_argument("--case", metavar="ID", help="only this case, with its figures")
    audit.add_argument("--changed-since", metavar="REV", help=SINCE)
    audit.add_argument(
        "--out", type=Path, default=WORK / "reports", help="where the cards go (default .conformance/reports)"
    )
    audit.add_argument("--online", action="store_true", help="also follow the references' links")
    audit.add_argument("--entries", **entries)
    audit.set_defaults(command=_audit)

    cost = commands.add_parser("cost", help="measure what the variants cost beside the bare layer and beside peft")
    cost.add_argument("variants", nargs="*", metavar="VARIANT", help="all if none is named")
    cost.add_argument("--quick", action="store_true", help="the counts, and two points of time")
    cost.add_argument(
        "--out", type=Path, help="where cost.md goes (default reports/; if quick or of some, .conformance/reports)"
    )
    cost.add_argument("--entries", **entries)
    cost.set_defaults(command=_cost)

    listing = commands.add_parser("list", help="list the variants, or the planned cases of some")
    listing.add_argument("variants", nargs="*", metavar="VARIANT")
    listing.add_argument("--entries", **entries)
    listing.set_defaults(command=_list)
    return parser


def _run(options: argparse.Namespace) -> int:
    from conformance.judging import gate
    from conformance.running.background import Background
    from conformance.running.collect import through_pytest

    change = _change(options)
    committed = gate.committed_labels(options.reports, options.against or options.changed_since or "HEAD")
    if change is not None and not change.everything:
        return _run_some(options, change, committed)
    file = WORK / "evidence.jsonl"
    with Background(lambda: through_pytest(file, workers=options.workers, entries=options.entries)) as child:
        from conformance.planning.select import entries_at
        from conformance.reporting import report

        entries = entries_at(options.entries)
        found = child.result()
    shown = report.judged(entries, found)
    files = report.render(shown)
    stale = gate.stale_files(options.reports, files)
    report.write(options.reports, files)
    report.print_table(shown, options.reports)
    closed = gate.check(tuple(v.verdict for v in shown), committed, stale)
    for reason in closed.reasons:
        print(f"GATE: {reason}", file=sys.stderr)
    return max(closed.status, report.print_online(entries) if options.online else 0)


def _run_some(options: argparse.Namespace, change: Change, committed: Mapping[str, Label]) -> int:
    """The gate of the affected variants alone."""
    if change.reports:
        print("reports/ has changed, too: whether it is up to date, only a whole run can tell", file=sys.stderr)
    if not change.variants:
        return 0
    from conformance.running.background import Background
    from conformance.running.collect import in_a_child

    out = WORK / "reports"
    names = tuple(change.variants)
    with Background(lambda: in_a_child(names, None, lambda done: None, workers=options.workers)) as child:
        from conformance.judging import partial
        from conformance.planning.select import choose, entries_at
        from conformance.reporting import report

        entries = choose(names, entries_at(None))
        found = child.result()
    shown = report.judged(entries, found)
    files = report.render(shown)
    report.write(out, files)
    report.print_table(shown, out)
    roster = [entry.name for entry in entries_at(None)]
    verdicts = tuple(view.verdict for view in shown)
    closed = partial.gate(verdicts, files, reports=options.reports, committed=committed, change=change, roster=roster)
    for reason in closed.reasons:
        print(f"GATE: {reason}", file=sys.stderr)
    return max(closed.status, report.print_online(entries) if options.online else 0)


def _change(options: argparse.Namespace) -> Change | None:
    """What changed since the revision that was asked for, and says so; None if none was."""
    if options.changed_since is None:
        return None
    if options.entries is not None:
        raise ValueError(
            "--changed-since: got --entries, want one of the two: whom a change affects is known of ours only"
        )
    from conformance.planning.changed import since

    change = since(options.changed_since)
    print(change, file=sys.stderr)
    return change


def _audit(options: argparse.Namespace) -> int:
    from conformance.running.background import Background, Progress
    from conformance.running.collect import in_a_child

    if options.changed_since is not None and (options.variants or options.case is not None):
        raise ValueError("--changed-since: got names or a case, too; want one of the two. Leave one out.")
    change = _change(options)
    if change is not None and not change.everything:
        if not change.variants:
            return 0
        options.variants = list(change.variants)
    progress = Progress()
    if options.case == "":
        raise ValueError("--case: got '', want a planned case. See `conformance list NAME`.")
    if options.case is None:
        options.out.mkdir(parents=True, exist_ok=True)  # a folder that cannot be had is said now, not after the run
    if options.case and not options.variants:
        options.variants = [options.case.split("/")[0]]
    with Background(
        lambda: in_a_child(options.variants, options.case, progress.step, entries=options.entries)
    ) as child:
        from conformance.planning.select import choose, entries_at, plan_for
        from conformance.reporting import report

        entries = choose(options.variants, entries_at(options.entries))
        plan = plan_for(options.variants, entries, options.case)
        progress.start(len(plan))
        found = child.result()
        progress.end()
    online = report.print_online(entries) if options.online else 0
    if options.case:
        return max(report.print_case(plan[0], found), online)
    shown = report.judged(entries, found)
    report.write(options.out, report.render(shown))
    report.print_table(shown, options.out)
    return max(report.status(shown), online)


def _cost(options: argparse.Namespace) -> int:
    from conformance.cost.command import write_costs

    partial = options.quick or options.variants or options.entries
    out = options.out or (WORK / "reports" if partial else Path("reports"))
    return write_costs(options.variants, quick=options.quick, out=out, entries=options.entries)


def _list(options: argparse.Namespace) -> int:
    from conformance.planning.select import entries_at, plan_for

    entries = entries_at(options.entries)
    if options.variants:
        for planned in plan_for(options.variants, entries=entries):
            print(planned.case.id)
    else:
        for entry in entries:
            print(f"{entry.name:12} {entry.location}")
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, want a whole number of at least 1")
    return int(text)
