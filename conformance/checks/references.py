"""Is the reference what it was when it was locked, and do its links say exactly where it is from?"""

from __future__ import annotations

import re

from conformance.compare import Comparison, conclude, holds, same
from conformance.entry import Entry
from conformance.model import Finding, Outcome, Probe
from conformance.trial import Trial
from refs.lock import Drift, check, read_lock
from refs.reference import ClosedForm, Live

ARXIV = re.compile(r"https://arxiv\.org/abs/\d{4}\.\d{4,5}")
REPOSITORY = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")


def probes(entry: Entry, reference: Live | ClosedForm) -> tuple[Probe, ...]:
    return (Probe(label="lock"), Probe(label="links")) if isinstance(reference, Live) else ()


def run(trial: Trial) -> Finding:
    return _lock(trial) if trial.probe.label == "lock" else _links(trial)


def _lock(trial: Trial) -> Finding:
    from importlib import metadata

    assert isinstance(trial.reference, Live)
    lock = read_lock()
    package = lock["packages"][trial.reference.package]
    checked = [check(o, lock) for o in trial.reference.objects]
    drifts = [c.drift for c in checked]
    drift = next((d for d in (Drift.MAJOR, Drift.MINOR) if d in drifts), Drift.NONE)
    first = trial.reference.objects[0].partition("::")
    facts = {
        "drift": drift.value,
        "drifted": [f"{c.object}: {c.reason}" for c in checked if c.drift is not Drift.NONE],
        "objects": len(checked),
        "package": trial.reference.package,
        "version": package["version"],
        "licence": package["licence"],
        "location": f"{first[0]}:{checked[0].line} ({first[2]})",
        "url": f"{package['repo']}/blob/{package['commit']}/{package['path_prefix']}{first[0]}#L{checked[0].line}",
    }
    installed = metadata.version(trial.reference.package)
    comparisons = [
        same(installed, package["version"], f"version of {trial.reference.package}"),
        *(
            holds(c.drift is not Drift.MAJOR, f"source of {c.object}", c.reason or "as locked", "as locked")
            for c in checked
        ),
    ]
    finding = conclude(trial.case, comparisons, facts=facts)
    return finding if finding.outcome is Outcome.AGREE else _as_error(finding)


def _links(trial: Trial) -> Finding:
    method = trial.entry.method
    assert method is not None
    author = method.author
    paper = _form(ARXIV, method.paper.url, "link to the paper")
    repository = _form(REPOSITORY, author.repo, "link to the authors' repository")
    comparisons = [paper, repository, holds(bool(method.paper.title), "title of the paper", "none", "a title")]
    if author.commit is not None:
        comparisons.append(_form(COMMIT, author.commit, "commit of the authors' code"))
        comparisons.append(holds(bool(author.path), "path of the authors' code", author.path, "a path"))
    facts = {
        "paper": "OK" if paper.agrees else f"not an arXiv link: {paper.got}",
        "author": "not pinned to a commit"
        if author.commit is None
        else "OK"
        if repository.agrees
        else "malformed link",
    }
    finding = conclude(trial.case, comparisons, facts=facts)
    return finding if finding.outcome is Outcome.AGREE else _as_error(finding)


def _form(pattern: re.Pattern[str], text: str, what: str) -> Comparison:
    return holds(pattern.fullmatch(text) is not None, what, repr(text), f"the form {pattern.pattern}")


def _as_error(finding: Finding) -> Finding:
    """A reference that is not the pinned one proves nothing about the subject: UNPROVEN, not BUGGY."""
    return Finding(**{**finding.__dict__, "outcome": Outcome.ERROR})
