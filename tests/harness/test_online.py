"""Following the links: wrong pages, changed sources and pages that cannot be had, served from this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import URLError

import pytest

from conformance.reporting import online, report
from conformance.reporting.online import Followed, Page, follow
from refs import lock
from refs.online.record import Matched, State
from refs.reference import Author, Paper
from tests.harness import toys

OBJECT = "peft/tuners/ia3/layer.py::Linear"
CODE = "def hra():\n    return 1\n"
AUTHOR = Author("https://github.com/who/what", "a.py", "0" * 40, hashlib.sha256(CODE.encode()).hexdigest())
ENTRY = replace(toys.SOUND, method=replace(toys.METHOD, author=AUTHOR, paper=Paper("2205.05638", "A Gate: 100% of it")))


def source() -> str:
    """The installed file, in which every locked object is as it was locked."""
    found = lock.locate(OBJECT.partition("::")[0] + "::")
    assert found is not None
    return found.text


SOURCE = "/huggingface/peft/v0.21.2/src/peft/tuners/ia3/layer.py"
BUSY = "busy"
"""A page whose server answers that it cannot."""
PAGES = {
    "/abs/2205.05638": "<html><h1>A gate: 100%\n of it</h1></html>",
    f"/who/what/{AUTHOR.commit}/a.py": CODE,
    SOURCE: source(),
}


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """A web of three pages that may be changed; every address leads to it."""
    served = dict(PAGES)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = served.get(self.path)
            self.send_response(404 if page is None else 503 if page == BUSY else 200)
            body = (page or "").encode()
            self.send_header("Content-Length", str(len(body) + 9 * ("cut short" in (page or ""))))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    download = online._download
    here = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setattr(online, "_download", lambda url: download(here + url.split("/", 3)[3]))
    monkeypatch.setattr(online, "SECONDS", 5)
    yield served
    server.shutdown()
    server.server_close()


def only_wrong() -> Followed:
    """The one link that is not as it should be."""
    (row,) = [row for row in follow((ENTRY,)) if not row.ok]
    return row


def told(row: Followed) -> tuple[State, int | None, Matched, str]:
    """What was seen at a link."""
    return row.seen.state, row.seen.http, row.seen.matched, row.seen.told


def test_right_pages(pages: dict[str, str]) -> None:
    """Right links would be reported as wrong."""
    rows = follow((ENTRY,), day="2026-11-30")
    fine = (State.OK, 200, Matched.MATCHED, "as locked")
    assert [(row.seen.what, told(row)) for row in rows] == [("paper", fine), ("authors' code", fine), ("peft", fine)]
    assert {row.seen.date for row in rows} == {"2026-11-30"}
    assert all(row.ok for row in rows)
    assert report.print_online((ENTRY,)) == 0


def test_another_paper(pages: dict[str, str]) -> None:
    """A link could lead to another paper for years."""
    pages["/abs/2205.05638"] = "<html><h1>On the Mating of Newts</h1></html>"
    row = only_wrong()
    wrong = "the page does not carry the title 'A Gate: 100% of it'"
    assert (row.seen.what, told(row)) == ("paper", (State.STALE, 200, Matched.DIFFERS, wrong))
    assert report.print_online((ENTRY,)) == 1


def test_a_title_with_an_entity(pages: dict[str, str]) -> None:
    """A title would not be found on its own page, because HTML writes some characters as entities."""
    paper = Paper("2205.05638", "Gates & walls: Ho's work")
    pages["/abs/2205.05638"] = "<html><h1>Gates &amp; Walls: Ho&#39;s work</h1></html>"
    assert all(row.ok for row in follow((replace(ENTRY, method=replace(toys.METHOD, author=AUTHOR, paper=paper)),)))


def test_authors_code_that_is_not_the_locked_file(pages: dict[str, str]) -> None:
    """The transcription would be of another file than the one that the card links to."""
    pages[f"/who/what/{AUTHOR.commit}/a.py"] = CODE + "\n"
    assert told(only_wrong()) == (State.STALE, 200, Matched.DIFFERS, "the file is not the locked one")


@pytest.mark.parametrize("page", ["", "x = 1\n", "<html>sign in</html>", "\0"])
def test_a_source_that_is_not_the_locked_one(pages: dict[str, str], page: str) -> None:
    """The linked source could be another than the installed one, or no source at all."""
    pages[SOURCE] = page
    row = only_wrong()
    assert row.seen.state is State.STALE
    assert "is not the locked one" in row.seen.told or row.seen.told == "the page is not a Python file"


def test_a_source_that_changed_by_a_word(pages: dict[str, str]) -> None:
    """A change inside the object would be taken for one elsewhere in the file."""
    pages[SOURCE] = "# elsewhere\n" + source()
    assert all(row.ok for row in follow((ENTRY,)))
    changed = source().replace("result * ia3_scaling", "result / ia3_scaling")
    assert changed != source()
    pages[SOURCE] = changed
    assert "peft/tuners/ia3/layer.py::Linear" in only_wrong().seen.told


@pytest.mark.parametrize("path", list(PAGES))
def test_a_page_that_is_gone(pages: dict[str, str], path: str) -> None:
    """A dead link would count as followed."""
    del pages[path]
    assert told(only_wrong()) == (State.DEAD, 404, Matched.NOT_COMPARED, "no such page")


def test_a_server_that_fails_says_nothing_of_the_page(pages: dict[str, str]) -> None:
    """A link would be called dead because its server was busy for a minute."""
    pages["/abs/2205.05638"] = BUSY
    assert told(only_wrong()) == (State.NOT_REACHED, 503, Matched.NOT_COMPARED, "Service Unavailable")


def test_a_page_that_ends_too_soon(pages: dict[str, str]) -> None:
    """A broken connection would end the audit with a traceback."""
    pages["/abs/2205.05638"] += "cut short"
    assert only_wrong().seen.state is State.NOT_REACHED


def test_a_web_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit without a network would end with a traceback, or pass as if it had looked, or call every link dead."""

    def refuse(url: str) -> Page:
        raise URLError(ConnectionRefusedError(111, "refused"))

    rows = follow((ENTRY,), refuse)
    assert [row.seen.state for row in rows] == [State.NOT_REACHED] * 3
    assert told(rows[0]) == (State.NOT_REACHED, None, Matched.NOT_COMPARED, "[Errno 111] refused")


def test_an_address_that_is_none() -> None:
    """A malformed link would end the audit with a traceback."""
    method = replace(toys.METHOD, author=Author("no address"))
    rows = follow((replace(ENTRY, method=method),), lambda url: online._download("no address"))
    assert not any(row.ok for row in rows)


def test_a_page_of_which_no_hash_is_recorded_is_not_called_locked() -> None:
    """A link that was merely reached would be reported as compared."""
    for author in (replace(AUTHOR, sha256=None), Author(AUTHOR.repo)):
        entry = replace(ENTRY, method=replace(toys.METHOD, author=author))
        seen = follow((entry,), lambda url: Page(200, b""))[1]
        assert told(seen) == (State.OK, 200, Matched.NOT_RECORDED, "reached; no hash of it is recorded")


def test_a_page_is_fetched_once() -> None:
    """Ten variants of one file would fetch it ten times."""
    asked: list[str] = []

    def fetch(url: str) -> Page:
        asked.append(url)
        return Page(200, b"")

    follow((ENTRY, replace(ENTRY, name="again")), fetch)
    assert len(asked) == len(set(asked)) == 3


def test_a_host_that_is_out_of_reach_is_tried_once() -> None:
    """Without a network, an audit would wait for a timeout per link."""
    asked: list[str] = []

    def fetch(url: str) -> Page:
        asked.append(url)
        raise URLError("no route")

    rows = follow((ENTRY,), fetch)
    assert len(asked) == 2  # arxiv.org, and raw.githubusercontent.com for two files
    assert {row.seen.told for row in rows} == {"no route"}


def test_an_entry_without_a_reference_has_no_links() -> None:
    """An entry without a reference would end the audit with a traceback."""
    assert follow((toys.UNREFERENCED,), lambda url: Page(200, b"")) == ()
