"""What following the links showed, and when: ``online.json``, written by ``conformance record links``.

A card quotes this file and follows no link itself. A record counts for what the link had to serve when it was followed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from refs.online.links import Link

ONLINE_FILE = Path(__file__).parents[1] / "online.json"
FORMAT = 1
NEVER = "never checked online"


class State(StrEnum):
    """What became of a link."""

    OK = "OK"
    """It answers, and serves what the lock says, as far as the lock says anything."""
    STALE = "STALE"
    """It answers, and serves something else."""
    DEAD = "DEAD"
    """Its host says that there is no such page (404, 410)."""
    NOT_REACHED = "not reached"
    """No answer that says anything about the page: no network, an error of the server, a broken transfer."""


class Matched(StrEnum):
    """Whether what was served is what the lock says."""

    MATCHED = "matched"
    DIFFERS = "differs"
    NOT_RECORDED = "nothing recorded to compare with"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True)
class Seen:
    """One link as it was on a day. ``wanted``: the fingerprint of what it had to serve."""

    what: str
    url: str
    wanted: str
    date: str
    http: int | None
    matched: Matched
    state: State
    told: str

    def __str__(self) -> str:
        status = f"HTTP {self.http}: " if self.http else ""
        return f"{self.state.value} ({status}{self.told})"


Record = Mapping[str, Seen]
"""Url -> what was seen there."""


def read_record(path: Path = ONLINE_FILE) -> dict[str, Seen]:
    """The record as data; empty if there is none. ValueError for a file that is no record."""
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']}")
        seen = [
            Seen(**{**row, "url": url, "matched": Matched(row["matched"]), "state": State(row["state"])})
            for url, row in data["links"].items()
        ]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path}: got {error!r}, want a record of format {FORMAT}. Delete it, and run `conformance record links`."
        ) from error
    return {row.url: row for row in seen}


def merged(old: Record, new: Iterable[Seen]) -> dict[str, Seen]:
    """The new record. A link that was not reached keeps what was measured of it before, if that still counts."""
    kept = {}
    for seen in new:
        before = old.get(seen.url)
        counts = before is not None and before.wanted == seen.wanted and before.state is not State.NOT_REACHED
        kept[seen.url] = before if before is not None and counts and seen.state is State.NOT_REACHED else seen
    return kept


def write_record(record: Record, path: Path = ONLINE_FILE) -> None:
    """Write it whole, sorted by address: equal records have equal bytes."""
    links = {url: {k: v for k, v in asdict(seen).items() if k != "url"} for url, seen in record.items()}
    text = json.dumps({"format": FORMAT, "links": links}, indent=1, sort_keys=True) + "\n"
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8", newline="\n")
    part.replace(path)


def quoted(links: Sequence[Link], record: Record) -> str:
    """The record of these links in one line: when, and the worst of what was seen. Empty without a link."""
    if not links:
        return ""
    counted = [_counting(link, record) for link in links]
    measured = [seen for seen in counted if seen is not None and seen.state is not State.NOT_REACHED]
    if not measured:
        tried = max((seen.date for seen in counted if seen is not None), default="")
        return f"{NEVER} (not reached on {tried})" if tried else NEVER
    dates = sorted({seen.date for seen in measured})
    worst = min(measured, key=lambda seen: (State.DEAD, State.STALE, State.OK).index(seen.state))
    alike = sum(seen.state is worst.state for seen in measured)
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    text = f"checked on {when}: {worst.state.value if len(links) > 1 and worst.state is State.OK else worst}"
    if len(links) > 1:
        text += f", {alike} of {len(links)} files"
    missing = len(links) - len(measured)
    return text + (f"; {missing} {NEVER}" if missing else "")


def gone(links: Iterable[Link], record: Record) -> tuple[str, ...]:
    """One line per link that was DEAD or STALE when it was last reached."""
    lines = []
    for link in links:
        seen = _counting(link, record)
        if seen is not None and seen.state in (State.DEAD, State.STALE):
            lines.append(f"{link.what} {link.url}: {seen} on {seen.date}")
    return tuple(lines)


def _counting(link: Link, record: Record) -> Seen | None:
    seen = record.get(link.url)
    return seen if seen is not None and seen.wanted == link.fingerprint else None
