"""``conformance diff``: which verdicts and findings changed since a revision."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from conformance.commands.options import Commands
from conformance.planning.names import BadRequest

REPORTS = Path("reports")


def add_to(commands: Commands) -> None:
    """Say what ``diff`` takes."""
    parser = commands.add_parser(
        "diff",
        help="which verdicts and findings changed since a revision",
        description="Compares the committed results.json of a revision with the one on disk. Nothing is measured. "
        "Status 0: nothing changed; 1: something did.",
    )
    parser.add_argument("revision", metavar="OLD", help="the old git revision")
    parser.add_argument("to", metavar="NEW", nargs="?", help="the new one (default: what is on disk)")
    parser.add_argument(
        "--reports", type=Path, default=REPORTS, metavar="DIR", help="folder of the results (default reports/)"
    )
    parser.add_argument("--json", action="store_true", help="print plain data")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Print what changed."""
    from conformance.reporting.over_time.changes import as_data, changes

    before = _at(options.reports, options.revision)
    after = _on_disk(options.reports) if options.to is None else _at(options.reports, options.to)
    changed = changes(before, after)
    if options.json:
        print(json.dumps(as_data(changed), indent=2))
    else:
        for one in changed:
            print("\n".join(one.lines()))
        if not changed:
            print(f"since {options.revision}: no verdict and no finding changed")
    return 1 if changed else 0


def _at(reports: Path, revision: str) -> dict[str, Any]:
    from conformance.judging.gate import RESULTS, committed_text
    from conformance.reporting.over_time.history import variants_in

    try:
        text = committed_text(reports / RESULTS, revision)
    except ValueError as error:  # it speaks of another command's option
        raise BadRequest(f"diff: {str(error).removeprefix('--against: ')}") from error
    found = variants_in(text)
    if found is None:
        raise BadRequest(f"diff: got no results of a run in {reports / RESULTS} at {revision}, want a later revision.")
    return found


def _on_disk(reports: Path) -> dict[str, Any]:
    from conformance.judging.gate import RESULTS
    from conformance.reporting.over_time.history import variants_in

    file = reports / RESULTS
    found = variants_in(file.read_text(encoding="utf-8") if file.is_file() else None)
    if found is None:
        raise BadRequest(
            f"diff: got no results of a run in {file}, want those of the last one. `conformance run` first."
        )
    return found
