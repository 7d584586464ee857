"""The references check: a reference that is not the locked one, or whose links are malformed, proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from conformance.checks.tensors import references
from conformance.nouns.facts import LinkFacts, LockFacts, Pinned
from conformance.nouns.finding import Finding, Outcome
from conformance.nouns.verdict import Label
from conformance.planning.plan import make_plan
from conformance.reporting import report
from conformance.running.evidence import Evidence
from conformance.running.run import run_case
from refs import lock
from refs.reference import Author, Method, Paper
from tests.harness import toys

GOOD = Author("https://github.com/who/what", "a/b.py", "0" * 40, "f" * 64)


def ask(method: Method, label: str) -> Finding:
    """The answer of the check for one method."""
    entry = replace(toys.SOUND, method=method)
    (planned,) = (p for p in make_plan((entry,)) if p.case.check == "references" and p.case.probe == label)
    return run_case(planned)


def with_author(**more: Any) -> Method:
    """A method whose author is well recorded but for what is changed."""
    return replace(toys.METHOD, author=replace(GOOD, **more))


@pytest.fixture
def source_changed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Changes locked hashes, as if the installed source were another."""

    def change(*keys: str) -> None:
        known = lock.read_lock()
        (name,) = toys.LIVE.objects
        known["objects"][name] |= dict.fromkeys(keys, "0" * 64)
        monkeypatch.setattr(references, "read_lock", lambda: known)

    return change


def lock_of(finding: Finding) -> LockFacts:
    """The facts of the lock."""
    assert isinstance(finding.facts, LockFacts)
    return finding.facts


def links_of(finding: Finding) -> LinkFacts:
    """The facts of the links."""
    assert isinstance(finding.facts, LinkFacts)
    return finding.facts


def test_the_locked_reference() -> None:
    """No variant could be proven."""
    found = ask(toys.METHOD, "lock")
    assert (found.outcome, lock_of(found).drift, lock_of(found).drifted) == (Outcome.AGREE, "NONE", ())
    assert found.n_compared == 2


def test_a_reworded_reference_still_proves(source_changed: Callable[..., None]) -> None:
    """A comment in the reference would cost every verdict, or not be told."""
    source_changed("sha256")
    found = ask(toys.METHOD, "lock")
    assert (found.outcome, lock_of(found).drift) == (Outcome.AGREE, "MINOR")
    assert lock_of(found).drifted == ("peft/tuners/ia3/layer.py::Linear: comments or formatting changed",)


def test_another_reference_makes_it_unproven(
    source_changed: Callable[..., None], toy_findings: dict[str, Finding]
) -> None:
    """A verdict would stand that was measured against another reference than the locked one."""
    source_changed("sha256", "meaning_sha256")
    found = ask(toys.METHOD, "lock")
    assert (found.outcome, lock_of(found).drift) == (Outcome.ERROR, "MAJOR")
    evidence = {k: f for k, f in toy_findings.items() if k.startswith("sound/")} | {found.case: found}
    (view,) = report.judged(toys.ONE, Evidence(evidence))
    assert view.verdict.label is Label.UNPROVEN
    assert "the code changed" in view.verdict.reason


def test_another_version_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pin could move without the lock."""
    known = lock.read_lock()
    known["packages"]["peft"]["version"] = "0.0.1"
    monkeypatch.setattr(references, "read_lock", lambda: known)
    found = ask(toys.METHOD, "lock")
    assert (found.outcome, found.what) == (Outcome.ERROR, "version of peft")


def test_a_package_that_is_not_in_the_lock() -> None:
    """A reference from a package that nobody recorded would pass."""
    method = replace(toys.METHOD, references=(replace(toys.LIVE, package="pytest"),))
    assert ask(method, "lock").outcome is Outcome.ERROR


def test_a_reference_that_names_no_source() -> None:
    """A reference of which nothing is locked would pass."""
    assert ask(replace(toys.METHOD, references=(replace(toys.LIVE, objects=()),)), "lock").outcome is Outcome.ERROR


def test_links_that_are_well_formed() -> None:
    """Right links would be refused."""
    for method in (toys.METHOD, with_author(), with_author(sha256=None), with_author(commit=None)):
        assert ask(method, "links").outcome is Outcome.AGREE


@pytest.mark.parametrize(
    "number",
    [
        "",
        "2205.0563",
        "2213.05638",
        "2205.05638v2",
        "205.05638",
        "2205-05638",
        "abs/2205.05638",
        "2205.05638 ",
        "hep-th/9901001",
    ],
)
def test_a_malformed_link_to_the_paper(number: str) -> None:
    """A card would send its reader to a page that is not the paper."""
    found = ask(replace(toys.METHOD, paper=Paper(number, "A gate")), "links")
    assert found.outcome is Outcome.ERROR
    assert links_of(found).paper is Pinned.NOT_ARXIV


@pytest.mark.parametrize("title", ["", "  "])
def test_a_paper_without_a_title(title: str) -> None:
    """The link could not be held against the page that it serves."""
    found = ask(replace(toys.METHOD, paper=Paper("2205.05638", title)), "links")
    assert (found.outcome, links_of(found).paper) == (Outcome.ERROR, Pinned.NO_TITLE)


@pytest.mark.parametrize(
    "change",
    [
        {"repo": "http://github.com/who/what"},
        {"repo": "https://github.com/who"},
        {"repo": "https://github.com/who/what/"},
        {"repo": "https://github.com/who/what/tree/main"},
        {"repo": "https://example.org/who/what"},
        {"repo": ""},
        {"commit": "main"},
        {"commit": "0" * 39},
        {"commit": "v1.0"},
        {"commit": ""},
        {"path": ""},
        {"sha256": "f" * 63},
        {"sha256": ""},
    ],
)
def test_a_malformed_link_to_the_authors_code(change: dict[str, str]) -> None:
    """A card would point at code that moves, or at none."""
    found = ask(with_author(**change), "links")
    assert (found.outcome, links_of(found).author) == (Outcome.ERROR, Pinned.MALFORMED)


def test_a_malformed_link_makes_it_unproven(toy_findings: dict[str, Finding]) -> None:
    """A wrong link would be printed on a CORRECT card."""
    found = ask(with_author(commit="main"), "links")
    evidence = {k: f for k, f in toy_findings.items() if k.startswith("sound/")} | {found.case: found}
    (view,) = report.judged(toys.ONE, Evidence(evidence))
    assert view.verdict.label is Label.UNPROVEN
