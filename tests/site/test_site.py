"""The static site: whole, linked, the same from run to run, and nothing asked of anybody."""

from __future__ import annotations

import posixpath
import random
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag

import pytest

from conformance.nouns.facts import FlowFacts, SidePair
from conformance.nouns.finding import Finding, Outcome
from conformance.planning.plan import make_plan
from conformance.reporting import report
from conformance.reporting.html import figures, svg
from conformance.reporting.html.dots import LEFT, Dot, _at, error_against_limit
from conformance.reporting.html.names import MARKS, OF_CELL, WORDS
from conformance.reporting.html.site import Audited, site, write
from conformance.reporting.state import State, section_word
from conformance.reporting.view import CardView
from conformance.running.evidence import Evidence
from conformance.running.run import run_case
from tests.harness import toys
from tests.site.conftest import ENTRIES, MACHINE, PAST, QUESTIONS

VOID = {"meta", "link", "input", "br", "hr", "img"}


class Parsed(HTMLParser):
    """Elements of a page, and whether every one is closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag, (tag, self.getpos())

    def all(self, *tags: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.seen if tag in tags]

    @property
    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.seen if "id" in attributes]


@pytest.fixture(scope="module")
def parsed(pages: dict[str, str]) -> dict[str, Parsed]:
    """Every page, taken apart."""
    return {name: Parsed(text) for name, text in pages.items() if name.endswith(".html")}


def test_what_there_is(pages: dict[str, str]) -> None:
    """A variant would have no page, or no badge."""
    assert {"index.html", "style.css", "script.js", "toys/sound.html", "others/sound.html"} < pages.keys()
    assert "toys/unreferenced.html" in pages
    assert "badges/toys-shifted.svg" in pages


def test_the_same_run_gives_the_same_bytes(
    pages: dict[str, str], findings: dict[str, Finding], costs: Any, checkout: dict[str, str]
) -> None:
    """A published site would change though nothing did: by the order of the evidence, by a time, by a hash of a run."""
    for seed in range(2):
        shuffled = list(findings.items())
        random.Random(seed).shuffle(shuffled)
        again = report.judged(ENTRIES, Evidence(dict(shuffled)))
        runs = (Audited("toys", again, MACHINE), Audited("others", again[:1], {}))
        files = list(checkout.items())
        random.Random(seed).shuffle(files)
        assert site(runs, questions=QUESTIONS, costs=costs, history=PAST, checkout=dict(files)) == pages


def test_no_page_carries_a_time(pages: dict[str, str]) -> None:
    """Two runs on one day and the next would differ. What a committed document says, it says every day."""
    for name, text in ((n, t) for n, t in pages.items() if not n.startswith("documents/")):
        assert not re.search(r"\b(19|20)\d\d-\d\d-\d\d\b|\b\d\d:\d\d:\d\d\b|\b0x[0-9a-f]{6,}", text), name


def test_nothing_is_fetched_from_anywhere(parsed: dict[str, Parsed], pages: dict[str, str]) -> None:
    """A page would not show without a network, and would tell others who reads it."""
    for name, page in parsed.items():
        fetched = [a.get("href", "") for a in page.all("link")] + [a.get("src", "") for a in page.all("script", "img")]
        assert fetched
        assert not [url for url in fetched if re.match(r"(\w+:)?//", url)], name
    assert "url(" not in pages["style.css"]
    assert "@import" not in pages["style.css"]
    assert not re.search(r"fetch\(|XMLHttpRequest|https?:", pages["script.js"])


def test_every_link_leads_somewhere(parsed: dict[str, Parsed], pages: dict[str, str]) -> None:
    """A finding's link, sent to somebody, would open nothing."""
    followed = 0
    for name, page in parsed.items():
        assert [key for key, n in Counter(page.ids).items() if n > 1] == [], name
        for attributes in page.all("a"):
            target, fragment = urldefrag(attributes["href"])
            if target.startswith("https:"):
                continue
            place = posixpath.normpath(posixpath.join(posixpath.dirname(name), target)) if target else name
            assert place in pages, (name, attributes["href"])
            if fragment:
                assert fragment in parsed[place].ids, (name, attributes["href"])
            followed += 1
    assert followed > 100


def test_every_finding_has_a_link_of_its_own(shown: tuple[CardView, ...], parsed: dict[str, Parsed]) -> None:
    """Two findings would share an anchor, or one have none."""
    for view in shown:
        anchors = [key for key in parsed[f"toys/{view.name}.html"].ids if key.startswith("finding-")]
        assert len(anchors) == len(set(anchors)) == len(view.rows)
    assert any(len(view.rows) > 2 for view in shown)


def test_every_planned_case_is_on_the_page(shown: tuple[CardView, ...], pages: dict[str, str]) -> None:
    """A case that differs would be left out where one looks for it."""
    for view in shown:
        text = pages[f"toys/{view.name}.html"]
        assert text.count('<tr id="case-') == len(view.planned)
        assert all(case.probe in text for case in view.planned)


def test_what_a_subject_says_is_text_and_no_markup() -> None:
    """An error of foreign code could put a script on the site."""

    def build(layer: Any, settings: Any) -> Any:
        raise RuntimeError("<script>alert(1)</script> & <b>")

    entry = replace(toys.SOUND, build=build)
    found = {f.case: f for f in map(run_case, make_plan((entry,)))}
    files = site([Audited("toys", report.judged((entry,), Evidence(found)), {})], questions=QUESTIONS, costs={})
    for name in ("index.html", "toys/sound.html"):
        assert "alert(1)" in files[name]
        assert "<script>alert" not in files[name]
        Parsed(files[name])


def test_two_pages_of_one_place_are_refused(shown: tuple[CardView, ...]) -> None:
    """One library's page would silently replace another's."""
    with pytest.raises(ValueError, match=r"two pages toys/\w+\.html"):
        site([Audited("toys", shown, {}), Audited("toys", shown, {})], questions={}, costs={})


def test_pages_of_variants_that_are_gone_are_removed(pages: dict[str, str], tmp_path: Path) -> None:
    """A verdict on code that no longer exists would stay on the site; what is not ours must stay."""
    write(tmp_path, pages)
    (tmp_path / "toys" / "old.html").write_text("old", encoding="utf-8")
    (tmp_path / "mine.html").write_text("mine", encoding="utf-8")
    write(tmp_path, pages)
    assert not (tmp_path / "toys" / "old.html").exists()
    assert (tmp_path / "mine.html").exists()
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == pages["index.html"]


def test_there_is_a_dot_for_every_case_with_a_limit(
    shown: tuple[CardView, ...], pages: dict[str, str], costs: Any
) -> None:
    """A difference would be missing from the figure that is looked at first."""
    rows = figures.timed_at(costs, "sound")
    timed = {"sound": 2 * len(rows) + 2}  # both sides at each point, and both marks of the legend
    for view in shown[:2]:
        with_limit = [f for case in view.planned if (f := view.verdict.findings[case.id]).limit > 0]
        dots = pages[f"toys/{view.name}.html"].count('class="dot ')
        assert dots == len(with_limit) + timed.get(view.name, 0)


def test_what_differs_is_right_of_the_limit() -> None:
    """The figure would show a difference among the agreements."""
    case = next(p.case for p in make_plan((toys.SHIFTED,)) if p.case.check == "forward")
    plain = Finding(case.id, Outcome.AGREE, 3)
    for share, kind in ((0.0, State.AGREE), (0.3, State.AGREE), (5.0, State.DIFFERS), (float("inf"), State.DIFFERS)):
        dot = Dot(case, replace(plain, error=share * 1e-12, limit=1e-12), kind)
        assert (_at(dot.share) > _at(1.0)) == (kind is State.DIFFERS)
        assert LEFT < _at(dot.share) < 760
    nan = Dot(case, replace(plain, error=float("nan"), limit=1e-12), State.DIFFERS)
    assert _at(nan.share) > _at(1.0)
    text = error_against_limit("dots", [nan])
    assert 'class="dot bad"' in text
    assert "NaN" in text


def test_a_tensor_that_is_dead_on_one_side_only_is_marked() -> None:
    """The strip would look the same whether the sides agree or not."""
    equal = figures.gradient_flow("flow", FlowFacts((SidePair("A", "dead", "dead"),)))
    other = figures.gradient_flow("flow", FlowFacts((SidePair("A", "live", "dead"),)))
    assert "bad" not in equal
    assert other.count(" bad") == 2
    assert "A: live (reference dead)" in other


def test_costs_show_their_spread(pages: dict[str, str], costs: Any) -> None:
    """A ratio without its spread would be taken for exact."""
    text = pages["toys/sound.html"]
    row = next(r for r in costs["times"]["timed"] if r["name"] == "sound")
    both = row["ours"]["both"]
    assert f"{both['median']:.2f} ({both['low']:.2f} to {both['high']:.2f})" in text
    assert 'class="spread' not in pages["others/sound.html"]  # measured of the first library only


def test_figures_have_names_for_those_who_do_not_see_them(parsed: dict[str, Parsed]) -> None:
    """A screen reader would say nothing, or read a thousand dots."""
    for name, page in parsed.items():
        for attributes in page.all("svg"):
            assert attributes["role"] == "img", name
            assert attributes["aria-labelledby"] in page.ids
            assert attributes["aria-describedby"] in page.ids


def test_every_state_and_every_word_has_a_mark() -> None:
    """A new state would break every page, or be drawn as an agreement."""
    assert set(MARKS) == set(State)
    assert set(MARKS.values()) == set(WORDS) == set(OF_CELL.values()) | {"reference"}
    assert {section_word([state]) for state in State} | {section_word([])} == set(OF_CELL)
    assert len({svg.mark(kind, 0.0, 0.0, "") for kind in WORDS}) == len(WORDS)
