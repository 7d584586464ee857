"""``conformance audit``: some variants, or one case, without pytest; nothing that is committed is touched."""

from __future__ import annotations

import argparse
from pathlib import Path

from conformance.commands.options import (
    SINCE,
    VARIANTS,
    WORK,
    Commands,
    add_entries,
    add_limit,
    change_since,
    require_installed,
    require_usable,
)
from conformance.planning.names import READING, BadRequest, require_case, require_variants

CASES_A_MINUTE = 3000
"""What one core does of our own variants' cases, roughly."""


def add_to(commands: Commands) -> None:
    """Say what ``audit`` takes."""
    parser = commands.add_parser(
        "audit",
        help="audit some variants without pytest; nothing committed is touched",
        description="Status 0: every audited variant is CORRECT or PARTIAL (with --case: the variant is not at fault).",
        epilog=READING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help="all if none is named")
    parser.add_argument("--case", metavar="ID", help="only this case, with its figures and what the judge says of it")
    parser.add_argument("--changed-since", metavar="REV", help=SINCE)
    parser.add_argument(
        "--out", type=Path, default=WORK / "reports", help="where the cards go (default .conformance/reports)"
    )
    parser.add_argument(
        "--evidence", type=Path, metavar="FILE", help="also write the findings with their figures, a JSON line for each"
    )
    parser.add_argument("--online", action="store_true", help="also follow the references' links")
    parser.add_argument("--json", action="store_true", help="print verdicts and findings as plain data, not as a table")
    add_limit(parser)
    add_entries(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Check the request, have the cases run while torch is imported here, judge, write or print."""
    if options.changed_since is not None and (options.variants or options.case is not None):
        raise BadRequest("--changed-since cannot be combined with variant names or --case. Leave one of them out.")
    if options.json and options.case is not None:
        raise BadRequest(
            "--json: got --case, too; want one of the two. `conformance explain CASE --json` has its data."
        )
    _check(options)
    if options.entries is None:
        require_installed("audit", VARIANTS)
    change = change_since(options)
    if change is not None and not change.everything:
        if not change.variants:
            if options.json:
                print('{"variants": {}}')
            return 0
        options.variants = list(change.variants)
    if options.case is None:
        _make(options.out)  # an unusable folder is an error now, not after the run
    elif not options.variants:
        options.variants = [options.case.split("/")[0]]
    return _audit(options)


def _check(options: argparse.Namespace) -> None:
    """As much as can be known before torch is imported; of foreign entries that is next to nothing."""
    from conformance.planning.select import own_names

    if options.entries is None:
        known = [name for name, _ in own_names()]
        require_variants(options.variants, known)
        if options.case is not None:
            require_case(options.case, options.variants, known)
    elif options.case == "":
        require_case("", (), ())
    if options.case is not None and options.case.count("/") < 3:  # no id at all: say so without a run in vain
        from conformance.planning.select import entries_at, plan_for

        plan_for(options.variants or [options.case.split("/")[0]], entries_at(options.entries), options.case)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadRequest(f"--out {folder}: cannot create this folder ({error.strerror}). Name another one.") from error


def _how_many(options: argparse.Namespace, cases: int, variants: int) -> str:
    """Of one case, what else is run for it; of everything, how long it takes."""
    if options.case is not None:
        return "1 case" + (f" (and {cases - 1} that the judge needs)" if cases > 1 else "")
    if options.variants or options.entries is not None:
        return f"{cases} cases"
    minutes = max(1, round(cases / CASES_A_MINUTE))
    return (
        f"Auditing all {variants} variants: {cases} cases, about {minutes} minute{'' if minutes == 1 else 's'}. "
        "Name a variant to audit only one"
    )


def _audit(options: argparse.Namespace) -> int:
    from conformance.running import collect, evidence
    from conformance.running.background import Background, Progress
    from conformance.running.children import held
    from conformance.running.environment import environment

    require_usable(options)
    progress = Progress()
    with Background(
        lambda: collect.in_a_child(
            options.variants, options.case, progress.step, entries=options.entries, minutes=options.limit
        )
    ) as child:
        from conformance.planning.select import choose, entries_at, plan_for
        from conformance.reporting import one_case, report

        entries = choose(options.variants, entries_at(options.entries))
        plan = plan_for(options.variants, entries, options.case)
        progress.start(len(plan), _how_many(options, len(plan), len(entries)))
        found = child.result()
        progress.end()
    online = report.print_online(entries, aside=options.json) if options.online else 0
    if options.case is not None:
        return max(one_case.show(plan, found), online)
    shown = report.judged(entries, found, options.entries)
    with held():
        report.write(options.out, report.render(shown))
        if options.evidence is not None:
            evidence.write(options.evidence, found.findings.values(), environment=environment())
    if options.json:
        import json

        from conformance.reporting.cards import results

        print(json.dumps(results(shown), indent=2, sort_keys=True))
    else:
        report.print_table(shown, options.out)
    return max(report.status(shown), online)
