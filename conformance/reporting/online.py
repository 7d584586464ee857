"""Follow the references' links and compare what they serve with the lock. Only on request, never needed."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from conformance.nouns.entry import Entry
from refs.lock import read_lock, sha, source_of
from refs.online.links import Link, Serves, of_method
from refs.online.record import Matched, Seen, State

SECONDS = 20
NO_SUCH_PAGE = (404, 410)


@dataclass(frozen=True)
class Page:
    """What a server answered."""

    http: int
    content: bytes

    @property
    def text(self) -> str:
        """As UTF-8; what is none shows as replacement characters."""
        return self.content.decode("utf-8", "replace")


Fetch = Callable[[str], Page]


@dataclass(frozen=True)
class Followed:
    """One link of one variant, and what was seen there."""

    variant: str
    seen: Seen

    @property
    def ok(self) -> bool:
        """Whether it serves what the lock says."""
        return self.seen.state is State.OK


def follow(entries: Sequence[Entry], fetch: Fetch | None = None, day: str = "") -> tuple[Followed, ...]:
    """Every link of every entry, each address fetched once. ``fetch(url)`` raises OSError when a page cannot be had.

    A host that cannot be reached at all is not tried again. ``day``: today's date (UTC) unless given.
    """
    look = _Look(fetch or _download, day or datetime.now(UTC).date().isoformat())
    lock = read_lock()
    return tuple(
        Followed(entry.name, look.at(link))
        for entry in entries
        if entry.method is not None
        for link in of_method(entry.method, lock)
    )


class _Look:
    """Fetches each address once, and gives up hosts that are out of reach."""

    def __init__(self, fetch: Fetch, day: str) -> None:
        self._fetch, self._day = fetch, day
        self._pages: dict[str, Page | Exception] = {}
        self._out_of_reach: dict[str, Exception] = {}

    def at(self, link: Link) -> Seen:
        """What the link serves, held against what it must serve."""
        page = self._page(link.url)
        seen = Seen(link.what, link.url, link.fingerprint, self._day, None, Matched.NOT_COMPARED, State.NOT_REACHED, "")
        if isinstance(page, HTTPError):
            gone = page.code in NO_SUCH_PAGE
            told = "no such page" if gone else str(page.reason)
            return replace(seen, http=page.code, state=State.DEAD if gone else State.NOT_REACHED, told=told)
        if isinstance(page, Exception):
            return replace(seen, told=str(page.reason) if isinstance(page, URLError) else str(page))
        problem = _problem(link, page)
        matched = Matched.DIFFERS if problem else Matched.MATCHED if link.wanted else Matched.NOT_RECORDED
        told = problem or ("as locked" if link.wanted else "reached; no hash of it is recorded")
        return replace(seen, http=page.http, matched=matched, state=State.STALE if problem else State.OK, told=told)

    def _page(self, url: str) -> Page | Exception:
        if url not in self._pages:
            host = urlsplit(url).netloc
            if host in self._out_of_reach:
                return self._out_of_reach[host]
            try:
                self._pages[url] = self._fetch(url)
            except (OSError, HTTPException, ValueError) as error:  # ValueError: an address that is none
                self._pages[url] = error
                if isinstance(error, URLError) and not isinstance(error, HTTPError):  # raised before any answer
                    self._out_of_reach[host] = error
        return self._pages[url]


def _problem(link: Link, page: Page) -> str:
    """What is wrong with what was served; empty if nothing is."""
    if link.serves is Serves.TITLE:
        (title,) = link.wanted
        return "" if _plain(title) in _plain(page.text) else f"the page does not carry the title {title!r}"
    if link.serves is Serves.FILE:
        (wanted,) = link.wanted
        return "" if hashlib.sha256(page.content).hexdigest() == wanted else "the file is not the locked one"
    if link.serves is Serves.OBJECTS:
        return _other_objects(link.wanted, page.text)
    return ""


def _other_objects(wanted: tuple[str, ...], text: str) -> str:
    for object_id, known in zip(wanted[::2], wanted[1::2], strict=True):
        try:
            found = source_of(text, object_id.partition("::")[2])
        except (SyntaxError, ValueError):
            return "the page is not a Python file"
        if found is None or sha(found.text) != known:
            return f"{object_id} is not the locked one"
    return ""


def _plain(text: str) -> str:
    return re.sub(r"\W+", " ", html.unescape(text)).casefold()


def _download(url: str) -> Page:
    request = Request(url, headers={"User-Agent": "conformance-audit"})
    with urlopen(request, timeout=SECONDS) as page:
        return Page(int(page.status), bytes(page.read()))
