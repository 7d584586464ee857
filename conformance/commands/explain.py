"""``conformance explain``: one case in full."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from conformance.commands.options import Commands, add_entries
from conformance.planning.names import FORM, READING, BadRequest, require_case
from conformance.running.limits import RUN_MINUTES

PROOF = Path("reports") / "proof.json"
"""In the folder where the command runs, else in the suite's own checkout."""


def add_to(commands: Commands) -> None:
    """Say what ``explain`` takes."""
    parser = commands.add_parser(
        "explain",
        help="one case: question, formulas, runnable code, figures, the limit's origin, what it usually means",
        description="Status 0: the case was run and explained, whatever it says.",
        epilog=READING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("case", metavar="CASE", help=FORM)
    parser.add_argument("--code", action="store_true", help="print the code alone: `... --code | python`")
    parser.add_argument("--json", action="store_true", help="print plain data")
    add_entries(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the case and what the judge needs for it, and print."""
    from conformance.planning.select import own_names

    if options.entries is None:
        require_case(options.case, (), [name for name, _ in own_names()])
    if options.case.count("/") < 3:
        raise BadRequest(f"explain: got {options.case!r}, want {FORM}. `conformance list VARIANT` prints them.")
    variant = options.case.split("/")[0]
    from conformance.running import collect
    from conformance.running.background import Background, Progress

    progress = Progress()
    with Background(
        lambda: collect.in_a_child([variant], options.case, progress.step, entries=options.entries, minutes=RUN_MINUTES)
    ) as child:
        from conformance.judging.judge import judge
        from conformance.nouns.entry import ROOT
        from conformance.planning.select import OWN, entries_at, own_written, plan_for
        from conformance.reporting.explain.explain import explain
        from conformance.reporting.explain.meaning import meaning, recorded
        from conformance.reporting.one_case import ruling

        plan = plan_for([variant], entries_at(options.entries), options.case)
        progress.start(len(plan))
        found = child.result()
        progress.end()
    asked = plan[0]
    like = asked.entry.method.name if options.entries and asked.entry.method else variant
    finding = found.findings.get(asked.case.id)
    if finding is None:
        print(f"{asked.case.id}: no answer: {found.broken or 'no evidence arrived'}", file=sys.stderr)
        return 1
    cases = [planned.case for planned in plan]
    evidence = {case.id: found.findings[case.id] for case in cases if case.id in found.findings}
    (verdict,) = judge([variant], cases, evidence, {variant: asked.entry.deviations}, needed=(), broken=found.broken)
    told = explain(
        asked,
        finding,
        ruling(asked, finding, verdict)[0],
        place=options.entries or OWN,
        write=own_written,
        meaning=meaning(recorded(PROOF if PROOF.is_file() else ROOT / PROOF), asked.check.name, like),
    )
    if options.code:
        print(told.code, end="")
    elif options.json:
        print(json.dumps(told.data(), indent=2))
    else:
        print(told.text(), end="")
    return 0
