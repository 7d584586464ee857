"""``conformance record``: what an entry's own references are: the hashes of their sources, or numbers of its code."""

from __future__ import annotations

import argparse

from conformance.commands.options import Commands
from conformance.planning.names import BadRequest

PLACE = "MODULE:ATTRIBUTE"


def add_to(commands: Commands) -> None:
    """Say what ``record`` takes."""
    parser = commands.add_parser("record", help="record what an entry's own references are")
    kinds = parser.add_subparsers(required=True, metavar="lock")
    lock = kinds.add_parser("lock", help="hashes of the sources of an entry's own live reference, beside the entry")
    lock.add_argument("--entries", required=True, metavar=PLACE, help="the entry; MODULE may be a file")
    lock.set_defaults(command=_lock)


def _lock(options: argparse.Namespace) -> int:
    from conformance.foreign.own import write_locks
    from conformance.planning.select import entries_at

    try:
        lines = write_locks(entries_at(options.entries), options.entries)
    except LookupError as error:
        raise BadRequest(f"record lock: {error}") from error
    for line in lines:
        print(line)
    return 0
