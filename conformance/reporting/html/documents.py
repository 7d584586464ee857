"""The documents of a checkout as pages of the site: guides, variants' pages, cards, reports, and linked sources."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag

from jinja2 import Environment

from conformance.reporting.html import markdown
from conformance.reporting.html.markdown import Rendered

FOLDER = "documents"
GROUPS = (
    ("Guides", "docs/*.md"),
    ("The project", "*.md"),
    ("Variants, for their users", "docs/variants/*.md"),
    ("Cards and reports", "reports/*.md"),
    ("Other libraries", "reports/subjects/*.md"),
)
"""Heading of a group, and the files that are in it, as a checkout names them."""
FOLDERS = {pattern.rpartition("/")[0]: heading for heading, pattern in GROUPS}
LINKED = "The project"
"""The group of a document that is in none, and only linked from one."""
FIRST = ("README.md", "docs/tutorial.md", "docs/your-own-code.md", "docs/reading-a-card.md")
"""What a new reader opens first, in this order; the rest is sorted by name."""
INDEX = "reports/index.md"
MARK = "docs/reading-a-card.md"
"""What tells a checkout from another folder that has documents."""


@dataclass(frozen=True)
class Document:
    """A markdown file, rendered."""

    source: str
    """Its path in the checkout."""
    rendered: Rendered

    @property
    def title(self) -> str:
        """Its first heading, or its path."""
        return self.rendered.title or self.source

    @property
    def place(self) -> str:
        """Its page, from the root of the site."""
        return place_of(self.source)

    @property
    def root(self) -> str:
        """The way from its page to the root of the site."""
        return "../" * self.place.count("/")


def read(root: Path, code: Iterable[str] = ()) -> dict[str, str]:
    """Path in the checkout -> text: every document of ``GROUPS``, the text files that they link to, and ``code``.

    Empty if ``root`` is no checkout: the suite is installed without its documents.
    """
    if not (root / MARK).is_file():
        return {}
    found = sorted(path.relative_to(root).as_posix() for _, pattern in GROUPS for path in root.glob(pattern))
    files = {name: (root / name).read_text(encoding="utf-8") for name in found}
    linked = {_resolved(name, target)[0] for name in found for target in markdown.links(files[name])}
    for name in sorted({*linked, *code} - files.keys()):
        if not name.startswith(("..", "/")) and (root / name).is_file():
            files[name] = (root / name).read_text(encoding="utf-8")
    return files


def place_of(source: str) -> str:
    """The page of a file of the checkout, from the root of the site; a picture keeps its name."""
    if source.endswith(".svg"):
        return f"{FOLDER}/{source}"
    return f"{FOLDER}/{source.removesuffix('.md')}.html"


def of_variant(name: str, files: Mapping[str, str]) -> list[tuple[str, str]]:
    """What there is to read about a variant: words, and a place on the site."""
    told = (("for its users", f"docs/variants/{name}.md"), ("the committed card", f"reports/{name}.md"))
    return [(words, place_of(source)) for words, source in told if source in files]


def anchor_of(heading: str) -> str:
    """The anchor of a group on the list of documents."""
    return f"group-{markdown.slug(heading)}"


def pages(
    environment: Environment, files: Mapping[str, str], variants: Mapping[str, str], common: Mapping[str, Any]
) -> dict[str, str]:
    """Path from the root of the site -> contents.

    ``files`` as ``read`` gives them; ``variants``: variant -> its page; ``common``: what every template reads.
    """
    if not files:
        return {}
    documents = [_document(name, files) for name in sorted(files, key=_order) if name.endswith(".md")]
    groups = _grouped(documents)
    made = {place_of(name): text for name, text in files.items() if name.endswith(".svg")}
    page, source = environment.get_template("document.html.j2"), environment.get_template("source.html.j2")
    for document in documents:
        variant = Path(document.source).stem
        own = variants.get(variant, "") if document.source != INDEX else ""
        made[document.place] = page.render(
            document=document, groups=groups, variant=variant, own=own, **{**common, "root": document.root}
        )
    for name in sorted(files):
        if not name.endswith((".md", ".svg")):
            root = "../" * place_of(name).count("/")
            lines = files[name].splitlines()
            made[place_of(name)] = source.render(name=name, lines=lines, **{**common, "root": root})
    made[f"{FOLDER}/index.html"] = environment.get_template("documents.html.j2").render(
        groups=[(heading, anchor_of(heading), members) for heading, members in groups],
        **{**common, "root": "../", "here": f"{FOLDER}/index.html"},
    )
    return made


def _document(name: str, files: Mapping[str, str]) -> Document:
    return Document(name, markdown.render(files[name], lambda target: _link(name, target, files)))


def _link(name: str, target: str, files: Mapping[str, str]) -> str | None:
    """A target as written in a document -> the same on the site; None if the site does not have it."""
    linked, fragment = _resolved(name, target)
    here = posixpath.dirname(place_of(name))
    if linked in FOLDERS:
        return posixpath.relpath(f"{FOLDER}/index.html#{anchor_of(FOLDERS[linked])}", here)
    if linked not in files:
        return None
    place = posixpath.relpath(place_of(linked), here) if linked != name or not fragment else ""
    return place + (f"#{fragment}" if fragment else "")


def _resolved(name: str, target: str) -> tuple[str, str]:
    """The file that a document links to, as a path in the checkout, and the fragment."""
    file, fragment = urldefrag(target)
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), file)) if file else name, fragment


def _order(name: str) -> tuple[int, str]:
    return (FIRST.index(name) if name in FIRST else len(FIRST), name)


def _grouped(documents: Iterable[Document]) -> list[tuple[str, list[Document]]]:
    """The groups in their order, each with its documents; the readme opens the guides."""
    made: dict[str, list[Document]] = {heading: [] for heading, _ in GROUPS}
    for document in documents:
        folder = "docs" if document.source == "README.md" else document.source.rpartition("/")[0]
        made[FOLDERS.get(folder, LINKED)].append(document)
    return [(heading, members) for heading, members in made.items() if members]
