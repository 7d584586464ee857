"""Following the links: wrong pages, changed sources and pages that cannot be had, served from this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conformance.reporting import online, report
from conformance.reporting.online import Followed, follow
from refs import lock
from refs.reference import Author, Paper
from tests.harness import toys

OBJECT = "peft/tuners/ia3/layer.py::Linear"
CODE = "def hra():\n    return 1\n"
AUTHOR = Author("https://github.com/who/what", "a.py", "0" * 40, hashlib.sha256(CODE.encode()).hexdigest())
ENTRY = replace(toys.SOUND, method=replace(toys.METHOD, author=AUTHOR, paper=Paper("2205.05638", "A Gate: 100% of it")))


def source() -> str:
    """A file in which the locked object is as it is installed."""
    found = lock.locate(OBJECT)
    assert found is not None
    return f"import math\n\n\n{found.text}\n"


PAGES = {
    "/abs/2205.05638": "<html><h1>A gate: 100%\n of it</h1></html>",
    f"/who/what/{AUTHOR.commit}/a.py": CODE,
    "/huggingface/peft/v0.21.2/src/peft/tuners/ia3/layer.py": source(),
}


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """A web of three pages that may be changed; every address leads to it."""
    served = dict(PAGES)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = served.get(self.path)
            self.send_response(200 if page is not None else 404)
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


def test_right_pages(pages: dict[str, str]) -> None:
    """Right links would be reported as wrong."""
    rows = follow((ENTRY,))
    assert [(row.what, row.state) for row in rows] == [
        ("paper", "as locked"),
        ("authors' code", "as locked"),
        ("peft", "as locked"),
    ]
    assert all(row.ok for row in rows)
    assert report.print_online((ENTRY,)) == 0


def test_another_paper(pages: dict[str, str]) -> None:
    """A link could lead to another paper for years."""
    pages["/abs/2205.05638"] = "<html><h1>On the Mating of Newts</h1></html>"
    row = only_wrong()
    assert (row.what, row.state) == ("paper", "the page does not carry the title 'A Gate: 100% of it'")
    assert report.print_online((ENTRY,)) == 1


def test_authors_code_that_is_not_the_locked_file(pages: dict[str, str]) -> None:
    """The transcription would be of another file than the one that the card links to."""
    pages[f"/who/what/{AUTHOR.commit}/a.py"] = CODE + "\n"
    assert only_wrong().state == "the file is not the locked one"


@pytest.mark.parametrize("page", ["", "x = 1\n", "<html>sign in</html>", "\0"])
def test_a_source_that_is_not_the_locked_one(pages: dict[str, str], page: str) -> None:
    """The linked source could be another than the installed one, or no source at all."""
    pages["/huggingface/peft/v0.21.2/src/peft/tuners/ia3/layer.py"] = page
    assert only_wrong().state in (f"{OBJECT} is not the locked one", "the page is not a Python file")


def test_a_source_that_changed_by_a_word(pages: dict[str, str]) -> None:
    """A change inside the object would be taken for one elsewhere in the file."""
    path = "/huggingface/peft/v0.21.2/src/peft/tuners/ia3/layer.py"
    pages[path] = "# elsewhere\n" + source()
    assert all(row.ok for row in follow((ENTRY,)))
    pages[path] = source().replace("def forward", "def backward")
    assert only_wrong().state == f"{OBJECT} is not the locked one"


@pytest.mark.parametrize("path", list(PAGES))
def test_a_page_that_is_gone(pages: dict[str, str], path: str) -> None:
    """A dead link would count as followed."""
    del pages[path]
    assert only_wrong().state.startswith("not reached: HTTP Error 404")


def test_a_page_that_ends_too_soon(pages: dict[str, str]) -> None:
    """A broken connection would end the audit with a traceback."""
    pages["/abs/2205.05638"] += "cut short"
    assert only_wrong().state.startswith("not reached: ")


def test_a_web_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit without a network would end with a traceback, or pass as if it had looked."""

    def refuse(url: str) -> str:
        raise ConnectionRefusedError(111, "refused")

    rows = follow((ENTRY,), refuse)
    assert [row.ok for row in rows] == [False] * 3
    assert rows[0].state == "not reached: [Errno 111] refused"


def test_an_address_that_is_none() -> None:
    """A malformed link would end the audit with a traceback."""
    method = replace(toys.METHOD, author=Author("no address"))
    rows = follow((replace(ENTRY, method=method),), lambda url: online._download("no address"))
    assert not any(row.ok for row in rows)


def test_a_page_of_which_no_hash_is_recorded_is_not_called_locked() -> None:
    """A link that was merely reached would be reported as compared."""
    for author, state in (
        (replace(AUTHOR, sha256=None), "reached; no hash of it is recorded"),
        (Author(AUTHOR.repo), "reached"),
    ):
        entry = replace(ENTRY, method=replace(toys.METHOD, author=author))
        assert follow((entry,), lambda url: "")[1].state == state


def test_a_page_is_fetched_once() -> None:
    """Ten variants of one file would fetch it ten times."""
    asked: list[str] = []
    follow((ENTRY, replace(ENTRY, name="again")), lambda url: asked.append(url) or "")  # type: ignore[func-returns-value]
    assert len(asked) == len(set(asked)) == 3


def test_an_entry_without_a_reference_has_no_links() -> None:
    """An entry without a reference would end the audit with a traceback."""
    assert follow((toys.UNREFERENCED,), lambda url: "") == ()
