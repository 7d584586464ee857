"""Judged runs -> the files of a static site. Pure: the same runs give the same bytes; no time is written anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from conformance.nouns.verdict import Label
from conformance.reporting.formats.badge import badge
from conformance.reporting.html import documents, figures
from conformance.reporting.html.names import OF_CELL, WORDS, figure
from conformance.reporting.html.page import Page
from conformance.reporting.over_time.history import Revision
from conformance.reporting.view import SECTIONS, CardView, label_counts

TEMPLATES = Path(__file__).with_name("templates")
ASSETS = ("style.css", "script.js")
DOCUMENTS = f"{documents.FOLDER}/index.html"
MACHINE = ("platform", "cpu", "python")
"""What is said of the machine that measured; the rest of the description stays in the evidence."""


@dataclass(frozen=True)
class Audited:
    """The run of one library: its name, its variants, and the machine that measured, as the evidence describes it."""

    library: str
    shown: tuple[CardView, ...]
    environment: Mapping[str, Any]


def site(
    runs: Sequence[Audited],
    *,
    questions: Mapping[str, str],
    costs: Mapping[str, Any],
    learning: Sequence[Mapping[str, Any]] = (),
    history: Sequence[Revision] = (),
    checkout: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Path from the site's root -> contents. ``questions``: what each check asks.

    ``learning``: the rows of ``learning.json``.
    ``checkout``: the documents and sources to show, as ``documents.read`` gives them.
    ValueError if two pages share a path.
    """
    # Costs and losses are measured of the first library, under the names of its variants.
    pages = [
        Page(run.library, view, costs, questions, [row for row in learning if row["variant"] == view.name])
        if run is runs[0]
        else Page(run.library, view, {}, questions)
        for run in runs
        for view in run.shown
    ]
    twice = sorted({page.place for page in pages if sum(other.place == page.place for other in pages) > 1})
    if twice:
        raise ValueError(f"report: got two pages {twice[0]}, want one. Give the libraries names of their own.")
    environment = _environment()
    checkout = checkout or {}
    files = {name: (TEMPLATES / name).read_text(encoding="utf-8") for name in ASSETS}
    template = environment.get_template("variant.html.j2")
    machines = {run.library: machine(run.environment) for run in runs}
    places = [("All variants", "index.html")] + ([("Documents", DOCUMENTS)] if checkout else [])
    common = {"places": places, "here": "", "sources": {name: documents.place_of(name) for name in checkout}}
    for page in pages:
        own = checkout if page.library == runs[0].library else {}
        files[page.place] = template.render(
            {**common, "root": "../"},
            page=page,
            view=page.view,
            machine=machines[page.library],
            documents=documents.of_variant(page.view.name, own),
        )
        files[f"badges/{page.library}-{page.view.name}.svg"] = badge(page.view.name, page.view.verdict.label)
    everything = tuple(page.view for page in pages)
    files["index.html"] = environment.get_template("index.html.j2").render(
        {**common, "here": "index.html", "root": ""},
        pages=pages,
        counts=label_counts(everything),
        labels=[label for label in Label if any(view.verdict.label is label for view in everything)],
        libraries=[run.library for run in runs],
        cost=figures.cost_of_all("cost", costs, [view.name for view in runs[0].shown]) if runs else "",
        history=history,
        machines=machines,
    )
    of = {page.view.name: page.place for page in pages if page.library == runs[0].library}
    return files | documents.pages(environment, checkout, of, common)


def machine(environment: Mapping[str, Any]) -> str:
    """Versions and processor, on one line."""
    told = [f"{key} {environment[key]}" for key in MACHINE if environment.get(key)]
    told += [
        f"{name} {version}" for name, version in environment.get("versions", {}).items() if name in ("torch", "peft")
    ]
    commit = environment.get("commit")
    return ", ".join([*told, *([f"commit {str(commit)[:12]}"] if commit else [])])


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Put the site in ``folder``; pages of variants that are gone are removed from the libraries written now."""
    libraries = {folder / name.split("/")[0] for name in files if name.endswith(".html") and "/" in name}
    for library in libraries:
        for path in library.glob("*.html"):
            if path.relative_to(folder).as_posix() not in files:
                path.unlink()
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    environment.filters["figure"] = figure
    environment.globals.update(SECTIONS=SECTIONS, OF_CELL=OF_CELL, WORDS=WORDS)
    return environment
