"""``conformance history``: the verdicts through the revisions that committed them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from conformance.commands.options import Commands
from conformance.planning.names import BadRequest

REPORTS = Path("reports")
LETTERS = {"CORRECT": "C", "PARTIAL": "P", "UNPROVEN": "U", "BUGGY": "B"}


def add_to(commands: Commands) -> None:
    """Say what ``history`` takes."""
    parser = commands.add_parser(
        "history",
        help="verdicts over time, from git; the newest is on the right",
        description="One line per variant, one letter per commit that changed results.json: C CORRECT, P PARTIAL, "
        "U UNPROVEN, B BUGGY, . not audited.",
    )
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help="only these")
    parser.add_argument(
        "--reports",
        type=Path,
        default=REPORTS,
        metavar="DIR",
        help="folder of the committed results (default reports/)",
    )
    parser.add_argument("--json", action="store_true", help="print plain data")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Print the table."""
    from conformance.planning.names import require_variants
    from conformance.reporting.over_time.history import history

    past = history(options.reports)
    if not past:
        raise BadRequest(f"history: got no committed results in {options.reports}, want a git checkout that has some.")
    # The order of the newest report; variants that are gone come last.
    known = list(dict.fromkeys(name for revision in reversed(past) for name in revision.verdicts))
    require_variants(options.variants, known)
    shown = [name for name in known if not options.variants or name in options.variants]
    if options.json:
        rows = [
            {
                "commit": r.commit,
                "subject": r.subject,
                "verdicts": {name: r.verdicts[name] for name in shown if name in r.verdicts},
            }
            for r in past
        ]
        print(json.dumps(rows, indent=2))
        return 0
    width = max(len(name) for name in shown)
    for name in shown:
        print(f"{name:{width}}  " + "".join(LETTERS.get(r.verdicts.get(name, ""), ".") for r in past))
    print()
    for place, revision in enumerate(past, 1):
        print(f"{place:3}  {revision.commit}  {revision.counts:30}  {revision.subject}")
    return 0
