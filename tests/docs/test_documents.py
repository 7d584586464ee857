"""What the documents promise: the example runs, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conformance.checks.registry import CHECKS
from conformance.reporting import cards
from refs.golden_vectors import vectors

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in (".", "docs", "docs/variants", "reports")
    for path in (ROOT / folder).glob("*.md")
)


def test_the_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first thing a reader copies would not work, or would leave files in their folder."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})  # the reader runs it, too
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("document", DOCUMENTS)
def test_relative_links_lead_somewhere(document: str) -> None:
    """A reader would follow a link into nothing."""
    path = ROOT / document
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith("http")]
    broken = [link for link in links if not _there(path, link)]
    assert not broken


@pytest.mark.parametrize("check", [check.name for check in CHECKS])
def test_every_check_is_in_the_readme_and_on_the_card(check: str) -> None:
    """A check would be run, and a reader not know what it asks or what it found."""
    rows = re.findall(r"^\| ([a-z_, ]+) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert check in {name for row in rows for name in row.split(", ")}
    template = (Path(cards.__file__).with_name("templates") / "card.md.j2").read_text(encoding="utf-8")
    assert f'"{check}"' in template or check == "references"


def test_the_number_of_golden_vectors() -> None:
    """The readme would claim more recorded numbers than there are, or fewer."""
    told = re.findall(r"(\d+) golden vectors", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert [int(number) for number in told] == [len(vectors())]


def _there(document: Path, link: str) -> bool:
    file, _, anchor = link.partition("#")
    target = (document.parent / file).resolve() if file else document
    if not target.exists():
        return False
    if not anchor:
        return True
    headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
    return anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
