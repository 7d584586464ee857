"""What the gate reads out of git, and what it takes where there is none."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from conformance.judging import gate
from conformance.nouns.verdict import Label
from conformance.reporting import report

CARD = "# gate: CORRECT\n\nLimits in \N{GREEK SMALL LETTER EPSILON}.\n"


def results(**labels: str) -> str:
    """A results file with nothing but verdicts."""
    return json.dumps({"format": 1, "variants": {name: {"verdict": label} for name, label in labels.items()}})


FILES = {"gate.md": CARD, "index.md": "# Index\n", "results.json": results(gate="CORRECT")}


def git(folder: Path, *arguments: str) -> None:
    """Run git as somebody, whatever the machine's own settings."""
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of reports in a git repository, committed."""
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "reports"
    report.write(folder, FILES)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "one")
    return folder


@pytest.fixture
def loose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of reports outside any repository."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    folder = tmp_path / "reports"
    report.write(folder, FILES)
    return folder


def test_what_is_committed_counts_and_not_what_is_on_disk(reports: Path) -> None:
    """A run would be held against the reports that it has just written itself."""
    (reports / "results.json").write_text(results(gate="BUGGY"))
    assert gate.committed_labels(reports, "HEAD") == {"gate": Label.CORRECT}
    git(reports, "add", "-A")
    assert gate.committed_labels(reports, "HEAD") == {"gate": Label.CORRECT}


def test_another_revision(reports: Path) -> None:
    """``--against`` would always mean the last commit."""
    (reports / "results.json").write_text(results(gate="PARTIAL", more="CORRECT"))
    git(reports, "commit", "-qam", "two")
    assert gate.committed_labels(reports, "HEAD") == {"gate": Label.PARTIAL, "more": Label.CORRECT}
    assert gate.committed_labels(reports, "HEAD~1") == {"gate": Label.CORRECT}


@pytest.mark.parametrize("revision", ["nonsense", "HEAD~9", "--all", "deadbeef", "main:reports"])
def test_a_revision_that_is_not_there(reports: Path, revision: str) -> None:
    """A misspelt revision would read as one in which nothing was committed, and let anything in."""
    with pytest.raises(ValueError, match="--against: unknown git revision"):
        gate.committed_labels(reports, revision)


def test_a_repository_without_a_commit(tmp_path: Path) -> None:
    """The first run of a new project would fail."""
    git(tmp_path, "init", "-q")
    assert gate.committed_labels(tmp_path / "reports", "HEAD") == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"variants": 3}',
        '{"variants": {"gate": {}}}',
        '{"variants": {"gate": {"verdict": "FINE"}}}',
    ],
)
def test_committed_results_that_cannot_be_read(reports: Path, text: str) -> None:
    """Damaged results would read as none, so that no verdict is worse than before."""
    (reports / "results.json").write_text(text)
    git(reports, "commit", "-qam", "damaged")
    with pytest.raises(ValueError, match=r"results\.json at HEAD: got"):
        gate.committed_labels(reports, "HEAD")


def test_reports_that_are_as_committed(reports: Path) -> None:
    """The gate would never open."""
    assert gate.stale_files(reports, FILES) == ()


def test_a_card_that_is_stale_missing_or_left_over(reports: Path) -> None:
    """A committed card could say something else than the run, or speak of a variant that is gone."""
    (reports / "old.md").write_text("# old: CORRECT\n")
    git(reports, "add", "-A")
    files = {**FILES, "gate.md": CARD + "More.\n", "new.md": "# new: CORRECT\n"}
    assert gate.stale_files(reports, files) == ("reports/gate.md", "reports/new.md", "reports/old.md")


def test_a_left_over_card_that_is_gone_from_disk_but_not_from_git(reports: Path) -> None:
    """Running twice would open the gate: the first run takes the old card from the disk only."""
    (reports / "old.md").write_text("# old: CORRECT\n")
    git(reports, "add", "-A")
    report.write(reports, FILES)
    assert not (reports / "old.md").exists()
    assert gate.stale_files(reports, FILES) == ("reports/old.md",)
    git(reports, "add", "-A")
    assert gate.stale_files(reports, FILES) == ()


def test_what_is_staged_counts(reports: Path) -> None:
    """A card could be rendered and never be committed, or could not be mended before the commit."""
    files = {**FILES, "gate.md": CARD + "More.\n"}
    report.write(reports, files)
    assert gate.stale_files(reports, files) == ("reports/gate.md",)
    git(reports, "add", "-A")
    assert gate.stale_files(reports, files) == ()


def test_a_file_that_somebody_else_keeps_there(reports: Path) -> None:
    """Notes beside the cards would be deleted, or shut the gate."""
    (reports / "NOTES.md").write_text("# Notes\n")
    git(reports, "add", "-A")
    report.write(reports, FILES)
    assert (reports / "NOTES.md").exists()
    assert gate.stale_files(reports, FILES) == ()


def test_reports_deleted_from_disk_are_still_in_git(reports: Path) -> None:
    """Deleting the reports before a run would make every verdict a new one."""
    for file in reports.iterdir():
        file.unlink()
    reports.rmdir()
    assert gate.committed_labels(reports, "HEAD") == {"gate": Label.CORRECT}
    assert gate.stale_files(reports, FILES) == ()
    assert gate.stale_files(reports, {"index.md": FILES["index.md"]}) == ("reports/gate.md",)


def test_reports_without_a_folder_or_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run outside git would end in a traceback, or pass without anything to hold it against."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert gate.committed_labels(tmp_path / "reports", "HEAD") == {}
    assert len(gate.stale_files(tmp_path / "reports", FILES)) == len(FILES)


def test_outside_git_what_is_on_disk_counts(loose: Path) -> None:
    """An exported copy of the project could not be gated."""
    assert gate.committed_labels(loose, "HEAD") == {"gate": Label.CORRECT}
    assert gate.stale_files(loose, FILES) == ()
    (loose / "old.md").write_text("# old: BUGGY\n")
    (loose / "index.md").unlink()
    assert gate.stale_files(loose, FILES) == ("reports/index.md", "reports/old.md")


def test_a_revision_outside_git(loose: Path) -> None:
    """A revision that was asked for would silently not be looked at."""
    with pytest.raises(ValueError, match="not in a git repository"):
        gate.committed_labels(loose, "main")


def test_git_that_is_not_installed(loose: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without git would end in a traceback."""
    monkeypatch.setenv("PATH", "")
    assert gate.committed_labels(loose, "HEAD") == {"gate": Label.CORRECT}
