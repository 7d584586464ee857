"""The evidence file: what a run that did not end, or that something tampered with, looks like when it is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conformance.judging.judge import judge
from conformance.nouns.facts import (
    KINDS,
    AngleSenses,
    Answer,
    AxisFacts,
    BasisFacts,
    CoverageFacts,
    Excuse,
    Facts,
    FlowFacts,
    InfluenceFacts,
    InitFacts,
    InitialValue,
    LinkFacts,
    LockFacts,
    OptionFacts,
    PairingFacts,
    ParamsFacts,
    Pinned,
    RoundingFacts,
    Sense,
    SenseFacts,
    SidePair,
    StepFacts,
    SubspaceFacts,
    TensorFacts,
    TensorPair,
    Use,
)
from conformance.nouns.finding import Compared, Fault, Finding, Outcome, Severity
from conformance.nouns.verdict import Label
from conformance.running import evidence
from tests.harness.world import FORWARD, NEEDED, PLAN, agree, differ, sound


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A whole evidence file of a sound variant."""
    path = tmp_path / "deep" / "evidence.jsonl"
    evidence.write(path, sound().values())
    return path


def label(path: Path) -> Label:
    """What the judge makes of a file."""
    found = evidence.read(path)
    (verdict,) = judge(["gate"], PLAN, found.findings, needed=NEEDED, broken=found.broken)
    return verdict.label


FACTS: tuple[Facts | None, ...] = (
    None,
    LockFacts("a.py:1 (A)", "MINOR", ("a.py::A: comments changed",), 3, 2, "1.0", "MIT", "https://example.org"),
    LinkFacts(Pinned.NOT_ARXIV, Pinned.NO_COMMIT, "https://example.org"),
    ParamsFacts(
        (
            TensorPair("A", TensorFacts("4x12", "float32", "yes", "parameter"), None),
            TensorPair("B", None, TensorFacts("20x4", "float32", "no", "buffer")),
        ),
        128,
        80,
    ),
    InfluenceFacts(("A",)),
    InitFacts((InitialValue("A", "random"), InitialValue("B", "constant")), True, False),
    FlowFacts((SidePair("A", "dead", "live"),)),
    OptionFacts("an_option=False", "what it does", (SidePair("A", "equal", "between 1e-1 and 1e0"),)),
    StepFacts("bf16", "default", "32 -> 16", (SidePair("A", "survives", "lost"),)),
    SubspaceFacts("gap", "at most 1e-05", "between 0.01 and 0.1"),
    BasisFacts("at most 1e-05"),
    RoundingFacts("between 1e-4 and 1e-3"),
    SenseFacts("V", ("block_size=2",), (AngleSenses("angles_v", Sense.TOWARDS, Sense.AWAY),)),
    PairingFacts(("group_size=2",), (1,), (32,)),
    CoverageFacts((AxisFacts("r", "rank", ("1", "4")),), 9, 40, (Excuse("r=3", "odd", ("peft:a",)),), ("r=5",)),
    Answer(Use.REFUSES, "AdapterError: no", "a plain layer"),
)


@pytest.mark.parametrize("facts", FACTS, ids=lambda facts: type(facts).__name__)
def test_what_is_written_is_read_back(tmp_path: Path, facts: Facts | None) -> None:
    """A finding would change on its way through the file."""
    full = Finding(
        *(FORWARD.id, Outcome.DIFFER, 7, "y", 1e-3, 2.5e-13, "[0, 1]", "1\n|2", "ü", True),
        *(Fault.REFERENCE, Severity.NOTE, facts),
        at_fault="it divides twice",
        asked=(Compared("y"), Compared("y", "dtype")),
        differing=(Compared("y"),),
        nans=3,
        exact_bound=True,
    )
    path = tmp_path / "evidence.jsonl"
    evidence.write(path, [full])
    assert evidence.read(path) == evidence.Evidence({FORWARD.id: full})


def test_every_kind_of_fact_is_tried() -> None:
    """A new kind of fact would not be among those that the test above writes and reads."""
    assert {type(facts) for facts in FACTS} == {*KINDS.values(), type(None)}


@pytest.mark.parametrize(
    "data",
    [
        {"kind": "flow"},
        {"kind": "riddle", "is": {}},
        {"kind": "influence", "is": {"idle": "A"}},
        {"kind": "influence", "is": {"idle": [3]}},
        {"kind": "influence", "is": {"idle": [], "more": 1}},
        {"kind": "influence", "is": {}},
        {"kind": "answer", "is": {"use": "perhaps"}},
        {"kind": "flow", "is": {"tensors": [{"name": "A"}]}},
        [],
        "flow",
    ],
)
def test_data_that_are_no_fact(file: Path, data: object) -> None:
    """A damaged fact would reach the card, or end the judge with a traceback."""
    lines = file.read_text().splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), "facts": data})
    file.write_text("\n".join(lines))
    assert "no finding" in evidence.read(file).broken


def test_a_whole_file_is_trusted(file: Path) -> None:
    """No evidence would ever be good enough."""
    assert label(file) is Label.CORRECT


def test_the_order_of_the_findings_does_not_show(tmp_path: Path) -> None:
    """Two runs of the same plan would give two files."""
    one, two = tmp_path / "one", tmp_path / "two"
    evidence.write(one, sound().values())
    evidence.write(two, reversed(sound().values()))
    assert one.read_bytes() == two.read_bytes()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A run that died before its end would leave no trace."""
    found = evidence.read(tmp_path / "evidence.jsonl")
    assert found.findings == {}
    assert "no evidence arrived" in found.broken
    assert label(tmp_path) is Label.UNPROVEN


def test_a_file_cut_off_anywhere(file: Path) -> None:
    """Some place to cut the file would leave something that reads as whole."""
    whole = file.read_bytes().rstrip(b"\n")
    for end in range(len(whole)):
        file.write_bytes(whole[:end])
        assert label(file) is Label.UNPROVEN, whole[:end][-40:]


def test_a_file_that_lost_any_line(file: Path) -> None:
    """A header, a finding or a footer could go missing unnoticed."""
    lines = file.read_text().splitlines()
    for i in range(len(lines)):
        file.write_text("\n".join(lines[:i] + lines[i + 1 :]))
        assert evidence.read(file).broken, lines[i]
        assert label(file) is Label.UNPROVEN


@pytest.mark.parametrize(
    "line", ["{", "[]", "3", "null", "{}", '{"case": "x"}', '{"case": "x", "outcome": "FINE"}', "\xff"]
)
def test_a_damaged_line(file: Path, line: str) -> None:
    """A line that is no finding would be passed over, or end the judge with a traceback."""
    lines = file.read_text().splitlines()
    for place in (1, len(lines) - 1, len(lines)):
        file.write_bytes("\n".join([*lines[:place], line, *lines[place:]]).encode("latin-1"))
        assert label(file) is Label.UNPROVEN


def test_a_finding_that_is_there_twice(tmp_path: Path) -> None:
    """The second answer to a question would overwrite the first."""
    path = tmp_path / "evidence.jsonl"
    evidence.write(path, [*sound().values(), differ(FORWARD)])
    assert evidence.read(path).broken == f"two findings for {FORWARD.id}"
    evidence.write(path, [*sound().values(), agree(FORWARD)])
    assert label(path) is Label.UNPROVEN


def test_a_file_of_another_format(file: Path) -> None:
    """The file of another version of the harness would be read as if nothing had changed."""
    lines = file.read_text().splitlines()
    for header in (json.dumps({"evidence": evidence.FORMAT + 1}), json.dumps({"evidence": 1, "nonce": ""}), lines[1]):
        file.write_text("\n".join([header, *lines[1:]]))
        assert label(file) is Label.UNPROVEN


def test_a_footer_that_counts_wrongly(file: Path) -> None:
    """Findings could be taken out of the middle, or put in."""
    lines = file.read_text().splitlines()
    for end in (len(PLAN) - 1, len(PLAN) + 1, 0, -1, "4", None):
        file.write_text("\n".join([*lines[:-1], json.dumps({"end": end})]))
        assert label(file) is Label.UNPROVEN


def test_evidence_of_another_run(tmp_path: Path) -> None:
    """Two runs in one checkout: a wrong variant would get its card from the other run's evidence."""
    path = tmp_path / "evidence.jsonl"
    evidence.write(path, sound().values(), nonce="1")
    assert evidence.read(path, "1").broken == ""
    assert evidence.read(path, "2").broken == "the evidence is that of another run"
    first, *rows, _ = path.read_text().splitlines()
    path.write_text("\n".join([first, *rows, json.dumps(evidence.footer("2", len(rows)))]))
    assert evidence.read(path, "1").broken == "the evidence ends with the footer of another run"


def test_each_run_has_a_file_of_its_own(tmp_path: Path) -> None:
    """One run would overwrite what another, which is still going on, has found so far."""
    file, one, two = tmp_path / "evidence.jsonl", evidence.new_nonce(), evidence.new_nonce()
    places = [evidence.place_of(file, nonce) for nonce in (one, two)]
    assert len({*places, file}) == 3
    for place, nonce in zip(places, (one, two), strict=True):
        evidence.write(place, sound().values(), nonce=nonce)
    evidence.publish(places[0], file, {"cpu": "x"})
    assert evidence.read(file, one).broken == ""
    assert evidence.read(places[1], two).broken == ""
    assert json.loads((tmp_path / "environment.json").read_text()) == {"cpu": "x"}


def test_two_files_in_one(file: Path) -> None:
    """Two runs that wrote to the same place would read as one."""
    file.write_text(file.read_text() * 2)
    assert label(file) is Label.UNPROVEN
