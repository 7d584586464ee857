"""``conformance record``: hashes of an entry's own references, numbers of its code, or what the links lead to today."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from conformance.commands.options import Commands, add_json
from conformance.planning.names import BadRequest

PLACE = "MODULE:ATTRIBUTE"


def add_to(commands: Commands) -> None:
    """Say what ``record`` takes."""
    parser = commands.add_parser(
        "record", help="write down an entry's own references: hashes of sources, numbers of its code, links"
    )
    kinds = parser.add_subparsers(required=True, metavar="lock|vectors|links")
    lock = kinds.add_parser("lock", help="hashes of the sources of an entry's own live reference, beside the entry")
    lock.add_argument("--entries", required=True, metavar=PLACE, help="the entry; MODULE may be a file")
    lock.set_defaults(command=_lock)
    vectors = kinds.add_parser("vectors", help="numbers of an entry's code, into the folder that its method names")
    vectors.add_argument("variants", nargs="*", metavar="NAME", help="the entry, where there are several")
    vectors.add_argument("--entries", required=True, metavar=PLACE, help="the entry; MODULE may be a file")
    vectors.add_argument("--again", action="store_true", help="replace the vectors that are there")
    vectors.set_defaults(command=_vectors)
    links = kinds.add_parser(
        "links",
        help="follow the links of this repository's references (needs a network), into refs/online.json with the date",
        description="Status 1: a link is DEAD or STALE. What was not reached keeps what was seen of it before.",
    )
    links.add_argument("--file", type=Path, metavar="FILE", help="the record (default refs/online.json)")
    links.set_defaults(command=_links)
    for kind in (lock, vectors, links):
        add_json(kind)


def _vectors(options: argparse.Namespace) -> int:
    from conformance.commands.options import require_usable
    from conformance.foreign.recording import record
    from conformance.planning.select import choose, entries_at

    require_usable(options)
    chosen = choose(options.variants, entries_at(options.entries))
    if len(chosen) != 1:
        names = ", ".join(entry.name for entry in chosen)
        raise BadRequest(f"record vectors: got {len(chosen)} entries ({names}), want one. Name the one to record.")
    made = record(chosen[0], options.entries, again=options.again)
    print(json.dumps(made.data(), indent=2) if options.json else made)
    return 0


def _lock(options: argparse.Namespace) -> int:
    from conformance.foreign.own import write_locks
    from conformance.planning.select import entries_at

    try:
        written = write_locks(entries_at(options.entries), options.entries)
    except LookupError as error:
        raise BadRequest(f"record lock: {error}") from error
    if options.json:
        print(json.dumps([each.data() for each in written], indent=2))
        return 0
    for each in written:
        print(each)
    return 0


def _links(options: argparse.Namespace) -> int:
    from conformance.planning.select import entries_at
    from conformance.reporting.online import follow
    from refs.online.record import ONLINE_FILE, State, merged, read_record, write_record

    file = options.file or ONLINE_FILE
    old = read_record(file)  # one that cannot be read is an error before a link is followed
    seen = {row.seen.url: row.seen for row in follow(entries_at(None))}
    record = merged(old, seen.values())
    write_record(record, file)
    counts = {state: sum(row.state is state for row in seen.values()) for state in State}
    status = 1 if counts[State.DEAD] or counts[State.STALE] else 0
    if options.json:
        rows = [{"what": row.what, "url": row.url, "state": row.state.value} for row in seen.values()]
        print(json.dumps({"file": str(file), "links": rows}, indent=2))
        return status
    for row in seen.values():
        kept = record[row.url]
        print(f"{row.what} {row.url}: {row}" + (f"; kept: {kept} on {kept.date}" if kept is not row else ""))
    told = ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    print(f"{file}: {told}. Audit again: the cards quote it.")
    return status
