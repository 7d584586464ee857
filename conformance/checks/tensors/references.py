"""Is the reference's source as locked, and do its links say exactly where it is from?"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from conformance.measuring.compare import Comparison, conclude, holds, same
from conformance.measuring.trial import Trial
from conformance.nouns.entry import Entry
from conformance.nouns.facts import LinkFacts, LockFacts, Pinned
from conformance.nouns.finding import Finding, Outcome
from conformance.nouns.probe import Probe
from refs.foreign.recorded import vectors_of
from refs.golden_vectors import GoldenError
from refs.lock import WRITE_IT, Drift, LockError, check, check_transcription, objects_of, read_lock, read_own
from refs.online import links
from refs.online.record import gone, quoted, read_record
from refs.reference import Built, Live, Method, Recorded, Reference, Transcribed
from refs.versions import drifted, version_of

ARXIV = re.compile(r"https://arxiv\.org/abs/\d{2}(0[1-9]|1[0-2])\.\d{5}")  # the form since 2015
REPOSITORY = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """The lock and the links, once per reference that is a layer. A method of somebody's own may have no links."""
    if isinstance(reference, Recorded):
        return (Probe(label="lock"),)
    if not isinstance(reference, Built):
        return ()
    published = entry.method is not None and entry.method.published
    return (Probe(label="lock"), Probe(label="links")) if published else (Probe(label="lock"),)


def run(trial: Trial) -> Finding:
    """Compare the installed source with the lock, or the links with the form they must have."""
    return _lock(trial) if trial.probe.label == "lock" else _links(trial)


def _lock(trial: Trial) -> Finding:
    reference = trial.reference
    if isinstance(reference, Recorded):
        return _vectors(trial, reference)
    own = reference.lock if isinstance(reference, Live) else None
    try:
        lock = read_lock() if own is None else read_own(own)
    except LockError as error:
        return _as_error(conclude(trial.case, [holds(False, f"lock of {reference.id}", error.got, error.want)]))
    if isinstance(reference, Live):
        named = "refs/lock.json" if own is None else f"{own.name}; {WRITE_IT}"
        checked = [check(o, lock, named) for o in objects_of(reference.id, reference.objects, lock)]
        facts, comparisons = _package(reference, lock, checked[0].line)
    else:
        assert isinstance(reference, Transcribed)
        checked = check_transcription(reference.module, lock, reference.golden)
        facts, comparisons = LockFacts(f"refs/{reference.module}:1", "", (), 0), []
    # A library of somebody else's may need other versions of what the reference does not compute with.
    asked = tuple(lock["versions"])
    if own is None and trial.entry.promises.as_reference:
        asked = ("torch", "peft")
    comparisons += [
        same(now, locked, f"version of {name}") for name, now, locked in drifted(lock["versions"]) if name in asked
    ]
    drifts = [c.drift for c in checked]
    facts = replace(
        facts,
        drift=next((d for d in (Drift.MAJOR, Drift.MINOR) if d in drifts), Drift.NONE).value,
        drifted=tuple(f"{c.object}: {c.reason}" for c in checked if c.drift is not Drift.NONE),
        objects=len(checked),
        vectors=sum(c.object.startswith("golden/") for c in checked),
    )
    comparisons += [
        holds(c.drift is not Drift.MAJOR, f"source of {c.object}", c.reason or "as locked", "as locked")
        for c in checked
    ]
    finding = conclude(trial.case, comparisons, facts=facts)
    return finding if finding.outcome is Outcome.AGREE else _as_error(finding)


def _vectors(trial: Trial, reference: Recorded) -> Finding:
    """Every file of the folder is the one of its manifest, and none is there that the manifest does not list."""
    try:
        found = vectors_of(reference)
    except GoldenError as error:
        got, _, want = str(error).removeprefix("got ").partition(", want ")
        return _as_error(conclude(trial.case, [holds(False, f"vectors of {reference.id}", got, want or "the files")]))
    places = sorted({vector.source_path for vector in found.values()})
    facts = LockFacts(", ".join(places), Drift.NONE.value, (), len(found), len(found))
    return conclude(trial.case, [holds(bool(found), "vectors", str(len(found)), "one", n=len(found))], facts=facts)


def _package(reference: Live, lock: dict[str, Any], line: int) -> tuple[LockFacts, list[Comparison]]:
    known = {"version": "none", "repo": "", "commit": "", "path_prefix": "", "licence": ""}
    package = lock["packages"].get(reference.package, known)
    file, _, name = reference.objects[0].partition("::")
    facts = LockFacts(
        f"{file}:{line} ({name})",
        drift="",
        drifted=(),
        objects=0,
        version=package["version"],
        licence=package["licence"],
        url=f"{package['repo']}/blob/{package['commit']}/{package['path_prefix']}{file}#L{line}"
        * bool(package["repo"]),
    )
    installed = version_of(reference.package)
    return facts, [same(installed, package["version"], f"version of {reference.package}")]


def _links(trial: Trial) -> Finding:
    method = trial.entry.method
    assert method is not None
    author = method.author
    paper = _form(ARXIV, method.paper.url, "link to the paper")
    repository = _form(REPOSITORY, author.repo, "link to the authors' repository")
    title = holds(bool(method.paper.title.strip()), "title of the paper", "none", "a title")
    comparisons = [repository]
    if author.commit is not None:
        comparisons.append(_form(COMMIT, author.commit, "commit of the authors' code"))
        comparisons.append(holds(bool(author.path), "path of the authors' code", author.path, "a path"))
    if author.sha256 is not None:
        comparisons.append(_form(SHA256, author.sha256, "SHA-256 of the authors' code"))
    of_paper = Pinned.NOT_ARXIV if not paper.agrees else Pinned.OK if title.agrees else Pinned.NO_TITLE
    well_formed = all(c.agrees for c in comparisons)
    of_author = Pinned.MALFORMED if not well_formed else Pinned.NO_COMMIT if author.commit is None else Pinned.OK
    facts = _online(LinkFacts(of_paper, of_author, "" if paper.agrees else method.paper.url), method, trial.reference)
    finding = conclude(trial.case, [paper, title, *comparisons], facts=facts)
    return finding if finding.outcome is Outcome.AGREE else _as_error(finding)


def _online(facts: LinkFacts, method: Method, reference: Reference) -> LinkFacts:
    """With what the record says of the links. Nothing is fetched: a card is the same with a network and without."""
    record, lock = read_record(), read_lock()
    paper, author, source = links.of_paper(method), links.of_author(method), links.of_source(reference, lock)
    once = {link.url: link for link in (*paper, *author, *source)}
    return replace(
        facts,
        paper_online=quoted(paper, record),
        author_online=quoted(author, record),
        source_online=quoted(source, record),
        gone=gone(once.values(), record),
    )


def _form(pattern: re.Pattern[str], text: str, what: str) -> Comparison:
    return holds(pattern.fullmatch(text) is not None, what, repr(text), f"the form {pattern.pattern}")


def _as_error(finding: Finding) -> Finding:
    """A reference that is not the pinned one proves nothing about the subject: UNPROVEN, not BUGGY."""
    return replace(finding, outcome=Outcome.ERROR)
