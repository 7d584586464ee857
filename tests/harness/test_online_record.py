"""The record of followed links: what is kept of it, and what a card quotes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from conformance.checks.tensors import references
from conformance.cli import main
from conformance.nouns.finding import Finding
from conformance.planning.plan import make_plan
from conformance.reporting import online, report
from conformance.reporting.online import Page
from conformance.running.evidence import Evidence
from conformance.running.run import run_case
from refs import lock
from refs.online import links
from refs.online.links import Link, Serves
from refs.online.record import NEVER, Matched, Record, Seen, State, gone, merged, quoted, read_record, write_record
from refs.registry import METHODS
from tests.harness import toys

LINK = Link("paper", "https://arxiv.org/abs/1", Serves.TITLE, ("A title",))
OTHER = replace(LINK, url="https://arxiv.org/abs/2")


def seen(link: Link, state: State, date: str = "2026-01-02", http: int | None = 200) -> Seen:
    """A link as it was on a day."""
    return Seen(link.what, link.url, link.fingerprint, date, http, Matched.MATCHED, state, "as told")


def of(*rows: Seen) -> Record:
    """A record of these."""
    return {row.url: row for row in rows}


def test_the_record_reads_as_it_was_written(tmp_path: Path) -> None:
    """A status would change between the measurement and the card, or equal records would differ in their bytes."""
    record = of(seen(LINK, State.OK), seen(OTHER, State.NOT_REACHED, http=None))
    write_record(record, tmp_path / "a.json")
    write_record(dict(reversed(record.items())), tmp_path / "b.json")
    assert read_record(tmp_path / "a.json") == record
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 2, "links": {}}', '{"format": 1, "links": {"u": {}}}'])
def test_a_file_that_is_no_record(text: str, tmp_path: Path) -> None:
    """A broken record would read as one in which nothing was ever checked."""
    (tmp_path / "online.json").write_text(text)
    with pytest.raises(ValueError, match="want a record of format 1"):
        read_record(tmp_path / "online.json")


def test_no_record(tmp_path: Path) -> None:
    """A project without a record could not be audited."""
    assert read_record(tmp_path / "none.json") == {}
    assert quoted((LINK,), {}) == NEVER


@pytest.mark.parametrize(
    ("rows", "want"),
    [
        ((seen(LINK, State.OK),), "checked on 2026-01-02: OK (HTTP 200: as told)"),
        ((seen(LINK, State.DEAD, http=404),), "checked on 2026-01-02: DEAD (HTTP 404: as told)"),
        ((seen(LINK, State.STALE),), "checked on 2026-01-02: STALE (HTTP 200: as told)"),
        ((seen(LINK, State.NOT_REACHED, http=None),), "never checked online (not reached on 2026-01-02)"),
        ((replace(seen(LINK, State.OK), wanted="another"),), "never checked online"),
    ],
)
def test_what_is_quoted_of_one_link(rows: tuple[Seen, ...], want: str) -> None:
    """A card would call a link OK that was dead, that nobody reached, or that was checked for something else."""
    assert quoted((LINK,), of(*rows)) == want


@pytest.mark.parametrize(
    ("states", "want"),
    [
        ((State.OK, State.OK), "checked on 2026-01-02: OK, 2 of 2 files"),
        ((State.OK, State.STALE), "checked on 2026-01-02: STALE (HTTP 200: as told), 1 of 2 files"),
        ((State.STALE, State.DEAD), "checked on 2026-01-02: DEAD (HTTP 200: as told), 1 of 2 files"),
        ((State.OK, State.NOT_REACHED), "checked on 2026-01-02: OK, 1 of 2 files; 1 never checked online"),
    ],
)
def test_what_is_quoted_of_several_links(states: tuple[State, State], want: str) -> None:
    """One dead file among many would not be told."""
    assert quoted((LINK, OTHER), of(seen(LINK, states[0]), seen(OTHER, states[1]))) == want


def test_the_days_of_several_links() -> None:
    """The day of one link would stand for all."""
    record = of(seen(LINK, State.OK), seen(OTHER, State.OK, "2026-03-04"))
    assert quoted((LINK, OTHER), record) == "checked on 2026-01-02 to 2026-03-04: OK, 2 of 2 files"


def test_nothing_is_quoted_without_a_link() -> None:
    """A method without links would read as one whose links nobody followed."""
    assert quoted((), {}) == ""


def test_what_was_measured_outlasts_a_day_without_a_network() -> None:
    """A run without a network would delete what earlier runs measured; or an old result would hide a new one."""
    old = of(seen(LINK, State.OK))
    late = "2026-05-05"
    assert merged(old, [seen(LINK, State.NOT_REACHED, late)]) == old
    assert merged(old, [seen(LINK, State.DEAD, late)])[LINK.url].date == late
    assert merged(of(seen(LINK, State.NOT_REACHED)), [seen(LINK, State.NOT_REACHED, late)])[LINK.url].date == late
    renamed = replace(LINK, wanted=("Another title",))
    assert merged(old, [seen(renamed, State.NOT_REACHED, late)])[LINK.url].state is State.NOT_REACHED
    assert merged(old, []) == {}


def test_a_link_that_is_gone_is_a_finding(monkeypatch: pytest.MonkeyPatch, toy_findings: dict[str, Finding]) -> None:
    """A dead link would stand on a card as if it led somewhere, or cost a verdict that does not rest on it."""
    (paper,) = links.of_paper(toys.METHOD)
    monkeypatch.setattr(references, "read_record", lambda: of(seen(paper, State.DEAD, http=404)))
    (planned,) = (p for p in make_plan(toys.ONE) if p.case.check == "references" and p.case.probe == "links")
    found = run_case(planned)
    evidence = {k: f for k, f in toy_findings.items() if k.startswith("sound/")} | {found.case: found}
    (view,) = report.judged(toys.ONE, Evidence(evidence))
    assert [row.text for row in view.notes() if "does not lead" in row.text] == [
        f"A link does not lead where it did: paper {paper.url}: DEAD (HTTP 404: as told) on 2026-01-02."
    ]
    card = report.render((view,))["sound.md"]
    assert "| well-formed; checked on 2026-01-02: DEAD (HTTP 404: as told) |" in card


def test_what_is_gone_is_what_was_reached() -> None:
    """A host without an answer would be reported as a dead link."""
    record = of(seen(LINK, State.NOT_REACHED), seen(OTHER, State.STALE))
    assert len(gone((LINK, OTHER), record)) == 1


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Callable[[Page | OSError], None]:
    """A web in which every address gives the same answer."""

    def answers(answer: Page | OSError) -> None:
        def fetch(url: str) -> Page:
            if isinstance(answer, OSError):
                raise answer
            return answer

        monkeypatch.setattr(online, "_download", fetch)

    return answers


def test_the_command(web: Callable[[Page | OSError], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The record could not be written, or the command would pass although links lead elsewhere."""
    file = tmp_path / "online.json"
    web(Page(200, b""))
    assert main(["record", "links", "--file", str(file)]) == 1
    first = read_record(file)
    assert {row.state for row in first.values()} == {State.STALE}
    web(OSError("no network"))
    assert main(["record", "links", "--file", str(file)]) == 0
    assert read_record(file) == first
    assert "kept: STALE" in capsys.readouterr().out


def test_the_record_is_of_the_links_that_there_are() -> None:
    """The committed record would speak of links that no card has, or two cards want different things of one address."""
    locked = lock.read_lock()
    wanted: dict[str, set[str]] = {}
    for method in METHODS:
        for link in links.of_method(method, locked):
            wanted.setdefault(link.url, set()).add(link.fingerprint)
    assert all(len(prints) == 1 for prints in wanted.values())
    record = read_record()
    assert {url: {row.wanted} for url, row in record.items()} == wanted


def test_every_vector_that_can_be_linked_is() -> None:
    """The files that golden vectors were recorded from would not be among the followed links."""
    locked = lock.read_lock()
    (hra,) = (method for method in METHODS if method.name == "hra")
    files = [link.url for link in links.of_method(hra, locked) if link.serves is Serves.FILE]
    assert len(files) == 5
    assert all("8e0c6371e4928df6f69a56baae4ff90fb2619ccb" in url for url in files)
