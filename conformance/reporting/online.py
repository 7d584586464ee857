"""Follow the references' links and compare what they serve with the lock. Only on request, never needed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from typing import Any
from urllib.request import Request, urlopen

from conformance.nouns.entry import Entry
from refs.lock import package_of, read_lock, sha, source_of
from refs.reference import Method

Fetch = Callable[[str], str]
SECONDS = 20


@dataclass(frozen=True)
class Followed:
    """One link: what it is, whether it serves what the lock says, and in words what was seen there."""

    variant: str
    what: str
    url: str
    ok: bool
    state: str


def follow(entries: Sequence[Entry], fetch: Fetch | None = None) -> tuple[Followed, ...]:
    """Every link of every entry. ``fetch(url) -> text`` raises OSError when a page cannot be had."""
    get = _cached(fetch or _download)
    found: list[Followed] = []
    for entry in entries:
        if entry.method is not None:
            found += _follow(entry.name, entry.method, get)
    return tuple(found)


def _follow(variant: str, method: Method, get: Fetch) -> list[Followed]:
    if not method.published:
        return []
    lock = read_lock()
    rows = [_one(variant, "paper", method.paper.url, get, lambda page: _title_on(page, method.paper.title))]
    author = method.author
    if author.commit is None:
        rows.append(_one(variant, "authors' repository", author.repo, get, lambda page: "", "reached"))
    else:
        url = _raw(author.repo, author.commit, author.path)
        fine = "as locked" if author.sha256 else "reached; no hash of it is recorded"
        rows.append(_one(variant, "authors' code", url, get, lambda page: _same_file(page, author.sha256), fine))
    for file in sorted({o.partition("::")[0] for o in method.objects if package_of(o) in lock["packages"]}):
        objects = [o for o in method.objects if o.startswith(file + "::")]
        name = file.split("/")[0]
        package = lock["packages"][name]
        url = _raw(package["repo"], package["commit"], package["path_prefix"] + file)
        rows.append(_one(variant, name, url, get, partial(_same_objects, objects, lock)))
    return rows


def _one(
    variant: str, what: str, url: str, get: Fetch, problem: Callable[[str], str], fine: str = "as locked"
) -> Followed:
    try:
        page = get(url)
    except (OSError, HTTPException, ValueError) as error:  # ValueError: an address that is none
        return Followed(variant, what, url, False, f"not reached: {error}")
    state = problem(page)
    return Followed(variant, what, url, not state, state or fine)


def _title_on(page: str, title: str) -> str:
    def plain(text: str) -> str:
        return re.sub(r"\W+", " ", text).casefold()

    return "" if plain(title) in plain(page) else f"the page does not carry the title {title!r}"


def _same_file(page: str, sha256: str | None) -> str:
    if sha256 is None or hashlib.sha256(page.encode()).hexdigest() == sha256:
        return ""
    return "the file is not the locked one"


def _same_objects(objects: list[str], lock: dict[str, Any], page: str) -> str:
    for object_id in objects:
        try:
            found = source_of(page, object_id.partition("::")[2])
        except (SyntaxError, ValueError):
            return "the page is not a Python file"
        known = lock["objects"].get(object_id)
        if found is None or known is None or sha(found.text) != known["sha256"]:
            return f"{object_id} is not the locked one"
    return ""


def _raw(repo: str, revision: str, path: str) -> str:
    return f"{repo.replace('https://github.com/', 'https://raw.githubusercontent.com/')}/{revision}/{path}"


def _cached(fetch: Fetch) -> Fetch:
    pages: dict[str, str] = {}

    def get(url: str) -> str:
        if url not in pages:
            pages[url] = fetch(url)
        return pages[url]

    return get


def _download(url: str) -> str:
    request = Request(url, headers={"User-Agent": "conformance-audit"})
    with urlopen(request, timeout=SECONDS) as page:
        return str(page.read().decode("utf-8", "replace"))
