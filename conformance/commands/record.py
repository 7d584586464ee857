"""``conformance record``: what an entry's own references are: the hashes of their sources, or numbers of its code."""

from __future__ import annotations

import argparse

from conformance.commands.options import Commands
from conformance.planning.names import BadRequest

PLACE = "MODULE:ATTRIBUTE"


def add_to(commands: Commands) -> None:
    """Say what ``record`` takes."""
    parser = commands.add_parser("record", help="record what an entry's own references are")
    kinds = parser.add_subparsers(required=True, metavar="lock|vectors")
    lock = kinds.add_parser("lock", help="hashes of the sources of an entry's own live reference, beside the entry")
    lock.add_argument("--entries", required=True, metavar=PLACE, help="the entry; MODULE may be a file")
    lock.set_defaults(command=_lock)
    vectors = kinds.add_parser("vectors", help="numbers of an entry's code, into the folder that its method names")
    vectors.add_argument("variants", nargs="*", metavar="NAME", help="the entry, where there are several")
    vectors.add_argument("--entries", required=True, metavar=PLACE, help="the entry; MODULE may be a file")
    vectors.add_argument("--again", action="store_true", help="replace the vectors that are there")
    vectors.set_defaults(command=_vectors)


def _vectors(options: argparse.Namespace) -> int:
    from conformance.commands.options import require_usable
    from conformance.foreign.recording import record
    from conformance.planning.select import choose, entries_at

    require_usable(options)
    chosen = choose(options.variants, entries_at(options.entries))
    if len(chosen) != 1:
        names = ", ".join(entry.name for entry in chosen)
        raise BadRequest(f"record vectors: got {len(chosen)} entries ({names}), want one. Name the one to record.")
    print(record(chosen[0], options.entries, again=options.again))
    return 0


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
