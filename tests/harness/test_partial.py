"""What a run does with a change: whom it audits, and the gate of a run that audited some variants only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from conformance import cli
from conformance.judging import partial
from conformance.nouns.finding import Finding
from conformance.nouns.verdict import Label
from conformance.planning import changed
from conformance.planning.changed import Change
from conformance.reporting import report
from conformance.running import collect
from conformance.running.evidence import Evidence
from subjects.own.roster import ENTRIES
from tests.harness import toys

KNOWN = frozenset(entry.name for entry in ENTRIES)
ONE = Change("main", "", {"ia3": ("variants/ia3.py",)}, KNOWN)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Whom the runs would have audited; they give no evidence."""
    log: list[object] = []

    def some(given: tuple[str, ...], *_: object, **__: object) -> Evidence:
        log.append(sorted(given))
        return Evidence({})

    def every(*_: object, **__: object) -> Evidence:
        log.append("everything")
        return Evidence({})

    monkeypatch.setattr(collect, "in_a_child", some)
    monkeypatch.setattr(collect, "through_pytest", every)
    return log


@pytest.mark.parametrize(
    ("change", "run", "audit"),
    [
        (ONE, [["ia3"]], [["ia3"]]),
        (Change("main", "pyproject.toml", {}, KNOWN), ["everything"], [[]]),
        (Change("main", "", {}, KNOWN), [], []),
    ],
)
def test_only_the_affected_are_audited(
    here: Path,
    asked: list[object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: Change,
    run: list[object],
    audit: list[object],
) -> None:
    """A change that affects one would cost the time of all, or one that affects all be audited in part."""
    monkeypatch.setattr(changed, "since", lambda revision: replace(change, revision=revision))
    assert cli.main(["audit", "--changed-since", "HEAD"]) == bool(audit)
    assert asked == audit
    asked.clear()
    assert cli.main(["run", "--changed-since", "HEAD"]) == bool(run)
    assert asked == run
    said = capsys.readouterr().err
    assert said.startswith("since HEAD: ")
    assert ("GATE: ia3 is UNPROVEN" in said) is (change is ONE or bool(change.everything))
    assert ("GATE: hra is UNPROVEN" in said) is bool(change.everything)
    assert (here / "reports").exists() is bool(change.everything)


@pytest.mark.parametrize(
    "arguments",
    [
        ("audit", "lora", "--changed-since", "HEAD"),
        ("audit", "--case", "lora/x", "--changed-since", "HEAD"),
        ("audit", "--changed-since", "HEAD", "--entries", "tests.harness.toys:ONE"),
        ("run", "--changed-since", "HEAD", "--entries", "tests.harness.toys:ONE"),
        ("run", "--changed-since", "no-such-revision"),
        ("audit", "--changed-since", "no-such-revision"),
    ],
)
def test_a_request_that_makes_no_sense(
    here: Path, asked: list[object], capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    """One of two contradicting wishes would silently be dropped, or a traceback be the answer."""
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err.startswith("conformance: --changed-since")
    assert asked == []


@pytest.fixture
def world(here: Path, toy_findings: dict[str, Finding]) -> tuple[Path, Change]:
    """Reports of a sound toy and of a wrong one on disk, outside git; the sound one has changed."""
    shown = report.judged((toys.SOUND, toys.SHIFTED), Evidence(toy_findings))
    report.write(here / "reports", report.render(shown))
    return here / "reports", Change("main", "", {"sound": ("x.py",)}, frozenset({"sound", "shifted"}))


def reasons(
    world: tuple[Path, Change], findings: dict[str, Finding], roster: tuple[str, ...] = ("sound", "shifted")
) -> tuple[str, ...]:
    """Why the gate of a run of the sound toy alone is closed."""
    folder, change = world
    shown = report.judged((toys.SOUND,), Evidence({c: f for c, f in findings.items() if c.startswith("sound/")}))
    committed = {"sound": Label.CORRECT, "shifted": Label.BUGGY}
    return partial.gate(
        tuple(view.verdict for view in shown),
        report.render(shown),
        reports=folder,
        committed=committed,
        change=change,
        roster=roster,
    ).reasons


def test_a_partial_run_that_changes_nothing_passes(
    world: tuple[Path, Change], toy_findings: dict[str, Finding]
) -> None:
    """The others would be missed, though nobody asked for them, or the index would have to change."""
    before = {path.name: path.read_bytes() for path in world[0].iterdir()}
    assert reasons(world, toy_findings) == ()
    assert {path.name: path.read_bytes() for path in world[0].iterdir()} == before


def test_a_partial_run_sees_a_worse_verdict_and_a_card_that_would_change(
    world: tuple[Path, Change], toy_findings: dict[str, Finding]
) -> None:
    """A change would get in by being audited alone."""
    case = toys.ODD.id
    found = reasons(world, {**toy_findings, case: replace(toy_findings[case], n_compared=0)})
    assert any(reason.startswith("sound is UNPROVEN") for reason in found)
    render = "render all with `conformance run`, and commit"
    assert f"reports/sound.md would change: {render}" in found
    assert f"reports/results.json (its row of sound) would change: {render}" in found
    assert not any("shifted" in reason for reason in found)


@pytest.mark.parametrize("name", ["sound.md", "results.json"])
def test_a_committed_report_that_somebody_edited(
    world: tuple[Path, Change], toy_findings: dict[str, Finding], name: str
) -> None:
    """A card that says something else than the run could stay."""
    path = world[0] / name
    path.write_text(path.read_text().replace("CORRECT", "PARTIAL", 1) + "\n")
    (reason, *_) = reasons(world, toy_findings)
    assert reason.startswith(f"reports/{name}")


def test_a_variant_whose_files_were_not_found(world: tuple[Path, Change], toy_findings: dict[str, Finding]) -> None:
    """A variant written in another way than the others would never be audited by a partial run."""
    (reason,) = reasons(world, toy_findings, roster=("sound", "shifted", "strange"))
    assert reason == "strange is in the roster, and --changed-since did not find its files: run without it"
