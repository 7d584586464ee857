"""The site in a real browser: no error, no request, usable by keyboard, on a phone, and by the rules of axe-core.

Needs the extra ``browser`` and a Chromium on the path; skipped without them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from conformance.reporting.html.site import write

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")
PAGES = (
    *("index.html", "toys/sound.html", "toys/shifted.html", "toys/unreferenced.html"),
    *("documents/index.html", "documents/README.html", "documents/docs/your-own-code.html"),
    *("documents/docs/variants/road.html", "documents/reports/cost.html", "documents/reports/eva.html"),
    "documents/tests/harness/toys.py.html",
)
PHONE, DESK = 360, 1280


@pytest.fixture(scope="module")
def address(pages: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The site on disk: a ``file:`` address."""
    folder: Path = tmp_path_factory.mktemp("site")
    write(folder, pages)
    return folder.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium for all tests."""
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Any]:
    """``opened(name, width, scheme)`` -> the page; at the end nothing may have gone wrong in any of them."""
    problems: list[str] = []
    contexts = []

    def open_page(name: str, width: int = DESK, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("requestfailed", lambda request: problems.append(f"failed: {request.url}"))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith((address, "data:")) else problems.append(f"asked for {request.url}")
            ),
        )
        page.goto(f"{address}/{name}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("name", PAGES)
def test_no_rule_of_accessibility_is_broken(opened: Any, name: str, width: int, scheme: str) -> None:
    """A page could not be read with a screen reader, by keyboard, or for want of contrast."""
    axe = pytest.importorskip("axe_playwright_python")
    page = opened(name, width, scheme)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    page.evaluate(resources.files(axe).joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {preload: false, resultTypes: ['violations']})")
    assert found["passes"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in found["violations"]] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_no_wider_than_a_phone(opened: Any, name: str) -> None:
    """The whole page would move sideways under the finger."""
    page = opened(name, PHONE)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE


def test_dark_and_light_differ(opened: Any) -> None:
    """The reader's own choice would not count."""
    colours = [
        opened("index.html", scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    ]
    assert colours[0] == "rgb(255, 255, 255)"
    assert colours[1] != colours[0]


def test_filters(opened: Any) -> None:
    """A filter would show what was not asked for, or hide what was."""
    page = opened("index.html")

    def names() -> list[str]:
        rows = page.locator("#variants tbody tr:visible th")
        return [text.strip() for text in rows.all_inner_texts()]

    assert names() == ["sound", "shifted", "unreferenced", "sound"]
    page.select_option("[name=verdict]", "BUGGY")
    assert names() == ["shifted"]
    assert "1 of 4 variants" in page.inner_text("#shown")
    findings = page.locator("#all-findings > li:visible")
    assert findings.count() > 0
    assert set(findings.locator("strong").all_inner_texts()) == {"shifted"}
    page.click("button[type=reset]")
    page.wait_for_function("document.querySelectorAll('#variants tbody tr:not([hidden])').length === 4")
    page.select_option("[name=library]", "others")
    assert names() == ["sound"]
    assert page.locator("#all-findings > li:visible").count() == 1  # a link that is not pinned
    page.select_option("[name=section]", "dtype")
    assert page.locator("#all-findings > li:visible").count() == 0
    assert page.is_visible("#no-findings")
    page.select_option("[name=library]", "")
    page.select_option("[name=section]", "forward")
    page.select_option("[name=state]", "DIFFERS")
    assert names() == ["shifted"]
    page.fill("[name=variant]", "SOU")
    assert names() == []


def test_a_filtered_view_can_be_linked(opened: Any) -> None:
    """The address would open the whole table again."""
    page = opened("index.html?verdict=BUGGY")
    assert page.locator("#variants tbody tr:visible").count() == 1
    page.select_option("[name=verdict]", "")
    assert page.url.endswith("index.html")


def test_the_keyboard_reaches_the_contents_first(opened: Any) -> None:
    """A reader without a mouse would go through every link of the navigation on every page."""
    page = opened("toys/shifted.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_a_link_to_a_case_opens_its_table(opened: Any) -> None:
    """The link of a finding would lead to a closed table."""
    page = opened("toys/sound.html")
    row = page.evaluate("document.querySelector('tr[id^=case-forward]').id")
    assert not page.is_visible(f"#{row}")
    page = opened(f"toys/sound.html#{row}")
    page.wait_for_selector(f"#{row}", state="visible")


def test_everything_is_shown_without_script(browser: Any, address: str) -> None:
    """The site would be empty where scripts are off."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/index.html")
    assert page.locator("#variants tbody tr:visible").count() == 4
    assert not page.is_visible("#filters")
    context.close()
