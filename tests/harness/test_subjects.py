"""Other libraries: their environments, what is known of each, and the page that joins their audits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from subjects.pins import pinned
from subjects.scoreboard import SECTIONS, page, results, unexpected

ROOT = Path(__file__).parents[2]
CLEAN = {
    "verdict": "CORRECT",
    "reason": "3 of 3 planned cases agree.",
    "sections": {name: "ok" for name, _ in SECTIONS},
    "findings": [],
}
WRONG = {"severity": "MUST-FIX", "case": "loralib_lora/peft:lora/forward/x", "text": "output is off"}


def test_the_page_is_made_of_results(tmp_path: Path) -> None:
    """The page would be written by hand, or hold a verdict that no audit gave."""
    with pytest.raises(ValueError, match=r"got no LIBRARY/results\.json"):
        results(tmp_path)
    (tmp_path / "loralib").mkdir()
    written = json.dumps({"format": 2, "variants": {"loralib_lora": CLEAN}})
    (tmp_path / "loralib" / "results.json").write_text(written, encoding="utf-8")
    text = page(results(tmp_path))
    (row,) = (line for line in text.splitlines() if line.startswith("| loralib==0.1.2: lora |"))
    cells = row.split(" | ")
    assert cells[1:3] == ["ok", "ok"]
    assert cells[-2] == "**CORRECT**"
    assert text.count("\n- `subjects/reproducers/") == len(list((ROOT / "subjects" / "reproducers").glob("*.py")))


@pytest.mark.parametrize(
    ("library", "found", "said"),
    [
        ("loralib", {"loralib_lora": CLEAN}, []),
        ("loralib", {}, ["loralib_lora: got no result, want one. Audit it."]),
        (
            "loralib",
            {"loralib_lora": {**CLEAN, "findings": [WRONG]}},
            ["loralib_lora: a control; got output is off (forward), want no such finding."],
        ),
        (
            "loralib",
            {"loralib_lora": {**CLEAN, "verdict": "UNPROVEN", "reason": "gaps"}},
            ["loralib_lora: got UNPROVEN (gaps), want an answer."],
        ),
        (
            "loralib",
            {"loralib_lora": CLEAN, "loralib_x": CLEAN},
            ["loralib_x: got no line in subjects/loralib/known.json, want one. Look into it first."],
        ),
        (
            "lora_pytorch",
            {"lora_pytorch_lora": {**CLEAN, "findings": [{**WRONG, "case": "x/y/init/z"}]}},
            ["lora_pytorch_lora: got nothing of gradients, want what is known. Run its reproducers."],
        ),
    ],
)
def test_what_is_known_must_show_and_a_control_must_be_clean(
    library: str, found: dict[str, Any], said: list[str]
) -> None:
    """A harness that calls a right layer wrong, or no longer sees a known mistake, would go unnoticed."""
    assert unexpected(library, found) == said


@pytest.mark.parametrize(
    "folder", sorted(file.parent for file in (ROOT / "subjects").glob("*/requirements.in")), ids=str
)
def test_every_library_says_what_is_known_and_what_it_is_audited_with(folder: Path) -> None:
    """A library would be audited in an environment that nobody can build again, or its findings would go unread."""
    lines = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==\S+ --hash=sha256:[0-9a-f]{64}", line) for line in pins)
    assert len(pins) > 20
    assert lines[0].startswith((folder / "requirements.in").read_text(encoding="utf-8").splitlines()[0])
    known = json.loads((folder / "known.json").read_text(encoding="utf-8"))
    assert known
    assert all(name.startswith(folder.name) for name in known)
    scripts = list((ROOT / "subjects" / "reproducers").glob(f"{folder.name}_*.py"))
    assert scripts or not any(known.values()), "differences are known, and none can be reproduced"


def test_what_pip_would_install_is_pinned_with_its_hash() -> None:
    """A file of another build would be installed under the same version; or the suite would pin itself."""
    each = {name: _reported(name, digest) for name, digest in (("numpy", "aa"), ("loralib", "bb"), ("torch", "cc"))}
    lines = pinned("loralib", {"install": [*each.values(), _reported("adapter-conformance", "dd")]}).splitlines()
    assert [line for line in lines if "==" in line] == ["loralib==1.0 --hash=sha256:bb", "numpy==1.0 --hash=sha256:aa"]
    with pytest.raises(ValueError, match="got no loralib in what pip would install"):
        pinned("loralib", {"install": [each["numpy"]]})


def _reported(name: str, digest: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "version": "1.0"},
        "download_info": {"archive_info": {"hashes": {"sha256": digest}}},
    }
