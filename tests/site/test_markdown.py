"""The documents of a checkout as pages: whole, linked like the files are, and with nothing but what they say."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from conformance.reporting.html import documents, markdown
from conformance.reporting.html.markdown import render
from conformance.reporting.html.site import site
from tests.site.conftest import ROOT

WORDS = re.compile(r"[^\W_]+")


def test_every_document_has_a_page(pages: dict[str, str], checkout: dict[str, str]) -> None:
    """A guide would be in the repository and not on the site."""
    of_the_disk = {
        path.relative_to(ROOT).as_posix()
        for folder in (".", "docs", "docs/variants", "reports", "reports/subjects")
        for path in (ROOT / folder).glob("*.md")
    }
    assert of_the_disk == {name for name in checkout if name.endswith(".md")}
    for name in of_the_disk:
        assert documents.place_of(name) in pages
        assert documents.place_of(name).removeprefix("documents/") in pages["documents/index.html"]


def test_no_word_of_a_document_is_lost(pages: dict[str, str], checkout: dict[str, str]) -> None:
    """A paragraph, a cell of a table or a line of code would be in the file and not on the page."""
    for name in (each for each in checkout if each.endswith(".md")):
        text = re.sub(r"<!--.*?-->|\]\([^)]*\)|&\w+;|\n *\d+\. ", " ", checkout[name], flags=re.DOTALL)
        page = re.sub(r"<(?!img)[^>]*>|&\w+;", " ", pages[documents.place_of(name)])
        assert set(WORDS.findall(text)) - set(WORDS.findall(page)) <= {"python", "yaml", "bash", "console"}, name


def test_links_lead_to_the_same_places_as_in_the_files(pages: dict[str, str]) -> None:
    """A link would work in the repository and not on the site, or lead to another page."""
    readme = pages["documents/README.html"]
    assert 'href="reports/dora.html"' in readme
    assert 'href="index.html#group-variants-for-their-users"' in readme
    card = pages["documents/reports/dora.html"]
    assert 'href="../docs/reading-a-card.html"' in card
    assert 'href="index.html#what-a-verdict-does-not-mean"' in card
    assert 'href="../../variants/road.py.html"' in pages["documents/docs/variants/road.html"]
    assert 'src="cost.svg"' in pages["documents/reports/cost.html"]
    assert pages["documents/reports/cost.svg"].startswith("<?xml")


def test_a_finding_leads_to_its_line(pages: dict[str, str]) -> None:
    """A reader would have to look for the code that a finding is about."""
    places = set(re.findall(r'href="(\.\./documents/tests/harness/toys\.py\.html#L\d+)"', pages["toys/shifted.html"]))
    source = (ROOT / "tests" / "harness" / "toys.py").read_text(encoding="utf-8").splitlines()
    assert places
    for place in places:
        page, _, line = place.removeprefix("../").partition("#L")
        assert f'<span id="L{line}">{source[int(line) - 1]}\n' in unescape(pages[page])


def test_a_site_without_documents_has_no_link_to_them(pages: dict[str, str]) -> None:
    """The site of a project that audits its own code would link to pages that are not there."""
    files = site((), questions={}, costs={})
    assert "documents/" not in files["index.html"]
    assert not [name for name in files if name.startswith("documents/")]
    assert 'href="documents/index.html"' in pages["index.html"]


def test_a_linked_document_outside_the_usual_folders_has_a_page() -> None:
    """A link to a note beside some code would end the whole site with an error."""
    files = {documents.MARK: "# Card\n\n[note](../machines/notes.md)\n", "machines/notes.md": "# Note\n"}
    made = site((), questions={}, costs={}, checkout=files)
    assert 'href="../machines/notes.html"' in made["documents/docs/reading-a-card.html"]
    assert 'href="machines/notes.html"' in made["documents/index.html"].replace("../documents/", "")


def test_only_a_checkout_has_documents(tmp_path: Path) -> None:
    """Somebody else's ``docs`` folder beside the installed suite would be published as ours."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "secret.md").write_text("# Theirs\n", encoding="utf-8")
    assert documents.read(tmp_path) == {}


def test_nothing_outside_the_checkout_is_read(tmp_path: Path) -> None:
    """A link in a document could publish any file of the machine."""
    root = tmp_path / "checkout"
    (root / "docs").mkdir(parents=True)
    (tmp_path / "outside.txt").write_text("private", encoding="utf-8")
    (root / "inside.txt").write_text("public", encoding="utf-8")
    words = f"[a](../../outside.txt) [b]({tmp_path}/outside.txt) [c](../inside.txt) [d](../docs)"
    (root / documents.MARK).write_text(words, encoding="utf-8")
    assert set(documents.read(root, ["/etc/hostname", "../outside.txt"])) == {documents.MARK, "inside.txt"}


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("# A & `b`\n\n# A & b", '<h1 id="a--b">A &amp; <code>b</code></h1>\n<h1 id="a--b-1">A &amp; b</h1>\n'),
        ("[x](gone.md)", "<p>x</p>\n"),
        ("[x](https://a.b/c)", '<p><a href="https://a.b/c">x</a></p>\n'),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("a <b>c</b>", "<p>a &lt;b&gt;c&lt;/b&gt;</p>\n"),
        ("a <!-- b --> c", "<p>a  c</p>\n"),
        ("[x](javascript:alert(1))", "<p>[x](javascript:alert(1))</p>\n"),
    ],
)
def test_markdown(text: str, want: str) -> None:
    """A document would be shown otherwise than it is written, or put a script on the site."""
    assert render(text, lambda target: None).body == want


def test_what_scrolls_has_a_name_and_can_be_reached() -> None:
    """A wide table could not be read with a keyboard, and a screen reader would not say what it is."""
    body = render("| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nx < 1\n```\n\n    y\n", lambda target: None).body
    assert re.findall(r'aria-label="([^"]+)" tabindex="0"', body) == ["Table 1", "Code 1", "Code 2"]
    assert '<th scope="col">a</th>' in body
    assert "<td></td>" in render("| | b |\n|---|---|\n", lambda target: None).body
    assert "<pre><code>x &lt; 1\n</code></pre></div>" in body


def test_links_of_a_document_are_found() -> None:
    """A picture or a source that a document shows would not be copied to the site."""
    assert markdown.links("[a](b.md#c) ![d](e.svg) <https://f.g> [h](#i) `[j](k)`") == ["b.md#c", "e.svg", "#i"]
