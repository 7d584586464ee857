"""The links behind a method, and what each must serve: a title, one file, locked objects. Nothing is fetched here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from refs.lock import objects_of, package_of, sha
from refs.reference import Live, Method, Reference, Transcribed

COMMIT = re.compile(r"[0-9a-f]{40}")
REPOSITORY = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+")
PATH = re.compile(r"[\w./-]+")


class Serves(StrEnum):
    """What a link has to serve."""

    TITLE = "a page with the title"
    FILE = "a file with the hash"
    OBJECTS = "a Python file with the locked objects"
    ANYTHING = "any page"


@dataclass(frozen=True)
class Link:
    """One address, what stands behind it, and what it must serve.

    ``wanted`` holds the title, the SHA-256 of the file, or object ids and SHA-256 in turn; nothing if any page will do.
    """

    what: str
    url: str
    serves: Serves
    wanted: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Of what it must serve: a record made for something else is not quoted."""
        return sha(json.dumps([self.serves, *self.wanted]))[:16]


def of_paper(method: Method) -> tuple[Link, ...]:
    """The paper, if the method names one."""
    if not method.paper.arxiv:
        return ()
    return (Link("paper", method.paper.url, Serves.TITLE, (method.paper.title,)),)


def of_author(method: Method) -> tuple[Link, ...]:
    """The authors' file at its commit, or their repository where no commit is known."""
    author = method.author
    if not author.repo:
        return ()
    if author.commit is None:
        return (Link("authors' repository", author.repo, Serves.ANYTHING),)
    url = raw(author.repo, author.commit, author.path)
    if author.sha256 is None:
        return (Link("authors' code", url, Serves.ANYTHING),)
    return (Link("authors' code", url, Serves.FILE, (author.sha256,)),)


def of_source(reference: Reference, lock: Mapping[str, Any]) -> tuple[Link, ...]:
    """Every locked file of a package that a live reference runs; every file that golden vectors were recorded from."""
    if isinstance(reference, Live) and reference.lock is None:
        named = objects_of(reference.id, reference.objects, lock)
        files = {o.partition("::")[0] for o in named if package_of(o) in lock["packages"]}
        return tuple(link for file in sorted(files) for link in _of_file(file, lock))
    if isinstance(reference, Transcribed):
        known = lock["transcriptions"].get(reference.module, {"sources": {}})
        return tuple(
            Link("source of golden vectors", raw(s["repo"], s["commit"], path), Serves.FILE, (s["sha256"],))
            for path, s in sorted(known["sources"].items())
            if REPOSITORY.fullmatch(s["repo"]) and COMMIT.fullmatch(s["commit"]) and PATH.fullmatch(path)
        )
    return ()


def of_method(method: Method, lock: Mapping[str, Any]) -> tuple[Link, ...]:
    """All links of a method, each once."""
    if not method.published:
        return ()
    own = (*of_paper(method), *of_author(method))
    sources = [link for reference in method.references for link in of_source(reference, lock)]
    first: dict[tuple[str, str], Link] = {}
    for link in (*own, *sources):
        first.setdefault((link.url, link.fingerprint), link)
    return tuple(first.values())


def raw(repo: str, revision: str, path: str) -> str:
    """Where GitHub serves the bytes of a file at a revision."""
    return f"{repo.replace('https://github.com/', 'https://raw.githubusercontent.com/')}/{revision}/{path}"


def _of_file(file: str, lock: Mapping[str, Any]) -> tuple[Link, ...]:
    """With all its locked objects, whichever reference needs them: the same link on every card."""
    package = lock["packages"][package_of(file + "::")]
    if not package["repo"]:
        return ()
    objects = sorted(o for o in lock["objects"] if o.startswith(file + "::"))
    wanted = tuple(word for o in objects for word in (o, lock["objects"][o]["sha256"]))
    url = raw(package["repo"], package["commit"], package["path_prefix"] + file)
    return (Link(package_of(file + "::"), url, Serves.OBJECTS, wanted),)
