"""``conformance list``: the variants, or the planned cases of some."""

from __future__ import annotations

import argparse
import json
import sys

from conformance.commands.options import Commands, add_entries
from conformance.planning.names import READING, require_check, require_variants


def add_to(commands: Commands) -> None:
    """Say what ``list`` takes."""
    parser = commands.add_parser(
        "list",
        help="list the variants, or the planned cases of some",
        epilog=READING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help="print the ids of its planned cases")
    parser.add_argument("--check", metavar="CHECK", help="only the cases of this check")
    parser.add_argument("--json", action="store_true", help="print plain data")
    add_entries(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Print one line per variant, or per case. The list of this repository's variants needs no torch."""
    from conformance.planning.select import own_names

    if options.check is not None:
        require_check(options.check, "--check")
    if options.entries is None:
        known = own_names()
        require_variants(options.variants, [name for name, _ in known])
        if not options.variants and options.check is None:
            _print(known, options.json)
            return 0
    from conformance.planning.select import entries_at, plan_for

    entries = entries_at(options.entries)
    if not options.variants and options.check is None:
        _print([(entry.name, entry.location) for entry in entries], options.json)
        return 0
    asked = [p for p in plan_for(options.variants, entries) if options.check in (None, p.case.check)]
    if options.json:
        keys = ("variant", "reference", "check", "probe")
        print(json.dumps([{"id": p.case.id, **{key: getattr(p.case, key) for key in keys}} for p in asked], indent=2))
        return 0
    for planned in asked:
        print(planned.case.id)
    if not asked:
        which = f"the check {options.check}" if options.check else "any check"
        print(f"No case of {which} is planned: no reference of these variants can answer it.", file=sys.stderr)
    return 0


def _print(rows: list[tuple[str, str]] | tuple[tuple[str, str], ...], as_json: bool) -> None:
    if as_json:
        print(json.dumps([{"name": name, "location": place} for name, place in rows], indent=2))
        return
    width = max((len(name) for name, _ in rows), default=0)
    for name, place in rows:
        print(f"{name:{max(width, 12)}} {place}")
