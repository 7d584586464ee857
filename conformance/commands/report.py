"""``conformance report``: the last run as a site, as JUnit XML, SARIF, annotations, a summary or badges."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.commands.options import WORK, Commands, add_entries
from conformance.planning.names import BadRequest

if TYPE_CHECKING:
    from conformance.reporting.html.site import Audited

REPORTS = Path("reports")
OUTPUTS = ("html", "junit", "sarif", "summary", "badges", "annotations")


def add_to(commands: Commands) -> None:
    """Say what ``report`` takes."""
    parser = commands.add_parser(
        "report",
        help="show the last run: a static site, JUnit XML, SARIF, annotations, badges",
        description="Nothing is measured: the evidence of the last `conformance run` is judged again and shown. "
        "Status 0: every variant is CORRECT or PARTIAL.",
    )
    parser.add_argument("--html", type=Path, metavar="DIR", help="a static site: open DIR/index.html")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="JUnit XML: a suite per variant, a test per case")
    parser.add_argument("--sarif", type=Path, metavar="FILE", help="SARIF 2.1.0: findings at file:line of both sides")
    parser.add_argument("--annotations", action="store_true", help="print GitHub's workflow commands, one per finding")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="append a summary in markdown")
    parser.add_argument("--badges", type=Path, metavar="DIR", help="one SVG per variant with its verdict")
    parser.add_argument(
        "--evidence",
        type=Path,
        default=WORK / "evidence.jsonl",
        metavar="FILE",
        help="raw evidence of a run (default .conformance/evidence.jsonl)",
    )
    parser.add_argument(
        "--also",
        nargs=2,
        action="append",
        default=[],
        metavar=("EVIDENCE", "MODULE:ATTRIBUTE"),
        help="one more library on the site, with the evidence of its run; may be repeated",
    )
    parser.add_argument(
        "--reports",
        type=Path,
        default=REPORTS,
        metavar="DIR",
        help="where cost.json and learning.json are (default reports/)",
    )
    add_entries(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Judge the evidence, write what was asked for."""
    if not any(getattr(options, name) for name in OUTPUTS):
        raise BadRequest(f"report: got nothing to write, want one of {', '.join('--' + name for name in OUTPUTS)}.")
    if options.also and not options.html:
        raise BadRequest("--also: got no --html, want one: only the site shows several libraries. Name its folder.")
    for file in (options.evidence, *(Path(evidence) for evidence, _ in options.also)):
        if not file.is_file():
            raise BadRequest(f"report: got no {file}, want the evidence of a run. `conformance run` writes it.")
    if options.html and options.html.exists() and not options.html.is_dir():
        raise BadRequest(f"--html: got {options.html}, which is no folder, want one. Name another place.")
    from conformance.reporting import report

    first = _judged(options.evidence, options.entries)
    others = [_judged(Path(evidence), entries) for evidence, entries in options.also]
    _write(options, [first, *others])
    return report.status(tuple(view for one in (first, *others) for view in one.shown))


def _judged(evidence: Path, entries: str | None) -> Audited:
    from conformance.planning.select import entries_at, library_at
    from conformance.reporting import report
    from conformance.reporting.html.site import Audited
    from conformance.running.evidence import last

    found, environment = last(evidence)
    if found.broken:
        print(f"{evidence}: not to be trusted: {found.broken}", file=sys.stderr)
    shown = report.judged(entries_at(entries), found, entries)
    planned = {case.id for view in shown for case in view.planned}
    missing, unknown = len(planned - found.findings.keys()), len(found.findings.keys() - planned)
    if (missing or unknown) and not found.broken:
        told = f"{missing} planned cases are not in it, {unknown} of its findings are of no planned case"
        print(f"{evidence}: {told}: it is of other code or other entries. `conformance run` measures.", file=sys.stderr)
    return Audited(library_at(entries), shown, environment)


def _write(options: argparse.Namespace, runs: list[Audited]) -> None:
    from importlib import metadata

    from conformance.checks.registry import CHECKS
    from conformance.reporting.formats import badge, hosted, junit, sarif
    from conformance.running.children import held

    shown = runs[0].shown
    questions = {check.name: check.question for check in CHECKS}
    with held():
        if options.html:
            _site(options, runs, questions)
        if options.junit:
            _file(options.junit, junit.junit(shown))
        if options.sarif:
            try:
                version = metadata.version("adapter-conformance")
            except metadata.PackageNotFoundError:  # a checkout, not installed
                version = "0.0.0"
            _file(options.sarif, sarif.sarif(shown, questions, version))
        if options.badges:
            for view in shown:
                _file(options.badges / f"{view.name}.svg", badge.badge(view.name, view.verdict.label))
        if options.summary:
            options.summary.parent.mkdir(parents=True, exist_ok=True)
            with options.summary.open("a", encoding="utf-8") as file:
                file.write(hosted.summary(shown))
        if options.annotations:
            print(hosted.annotated(shown), end="")


def _site(options: argparse.Namespace, runs: list[Audited], questions: dict[str, str]) -> None:
    import json

    from conformance.nouns.entry import ROOT
    from conformance.reporting.html import documents, site
    from conformance.reporting.over_time.history import history

    own = options.entries is None  # measured of our variants only

    def measured(name: str) -> dict[str, Any]:
        file = options.reports / name
        read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if own and file.is_file() else {}
        return read

    past = history(options.reports) if own else ()
    code = [view.entry.location.rpartition(":")[0] for view in runs[0].shown]
    checkout = documents.read(ROOT, code) if own else {}
    learned = measured("learning.json").get("rows", ())
    costs = measured("cost.json")
    files = site.site(runs, questions=questions, costs=costs, learning=learned, history=past, checkout=checkout)
    site.write(options.html, files)
    print(f"site: {options.html / 'index.html'}", file=sys.stderr)


def _file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
    print(path, file=sys.stderr)
