"""``audit --case`` rules as the card does: on the witness, on declared differences, and on the lock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conformance.nouns.finding import Case, Compared, Fault, Finding, Outcome
from conformance.nouns.verdict import Deviation
from conformance.planning.plan import make_plan
from conformance.planning.select import plan_for
from conformance.reporting import one_case, report
from conformance.reporting.state import State, state_of
from conformance.running.evidence import Evidence
from tests.harness import toys
from tests.harness.world import agree, differ

FORWARD = next(p.case for p in make_plan(toys.ONE) if p.case.id.startswith("sound/peft:gate/forward/perturbed"))
WITNESS = replace(FORWARD, reference="closed:gate")
LOCK = Case("sound", "peft:gate", "references", "lock")
DECLARED = replace(
    toys.SOUND,
    deviations=(
        Deviation("peft:gate/forward/*", "it is shifted", "on purpose", "https://example.org", by_default=False),
    ),
)
CASES = [
    (State.AGREE, toys.SOUND, {}, 0, "they agree"),
    (State.DIFFERS, toys.SOUND, {FORWARD: differ, WITNESS: differ}, 1, "the subject (sound) is at fault"),
    (
        State.WITNESSED,
        toys.SOUND,
        {FORWARD: differ},
        0,
        "In `peft:gate`, output is wrong: 2 instead of 1. The closed form agrees with the variant.",
    ),
    (
        State.DECLARED,
        DECLARED,
        {FORWARD: differ, WITNESS: differ},
        0,
        "declared deviation: it is shifted (on purpose; https://",
    ),
]


def drifted(case: Case) -> Finding:
    """The reference is not the locked one."""
    return replace(Finding(case.id, Outcome.ERROR, 1), what="source", got="the code changed", want="as locked")


def nothing(case: Case) -> Finding:
    """No number was compared."""
    return agree(case, n_compared=0)


def silent(case: Case) -> Finding:
    """The reference declares that it cannot answer."""
    return Finding(case.id, Outcome.NOT_APPLICABLE, what="no such shape", got="TypeError", want="an answer")


def shown(entry: object, changed: dict[Case, object], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, State]:
    """Status, what the command prints, and the word on the card."""
    assert entry is toys.SOUND or entry is DECLARED
    entries = (toys.SOUND,) if entry is toys.SOUND else (DECLARED,)
    everything = {p.case.id: agree(p.case) for p in make_plan(entries)}
    everything |= {case.id: make(case) for case, make in changed.items()}  # type: ignore[operator]
    plan = plan_for(("sound",), entries, FORWARD.id)
    status = one_case.show(plan, Evidence({p.case.id: everything[p.case.id] for p in plan}))
    (view,) = report.judged(entries, Evidence(everything))
    return status, capsys.readouterr().out, state_of(FORWARD, everything[FORWARD.id], view.verdict)


@pytest.mark.parametrize(("word", "entry", "changed", "status", "said"), CASES, ids=[case[0].name for case in CASES])
def test_it_says_what_the_card_says(
    capsys: pytest.CaptureFixture[str], word: State, entry: object, changed: dict[Case, object], status: int, said: str
) -> None:
    """A card would read "the reference is at fault" and its own command "the subject is"."""
    got, printed, on_the_card = shown(entry, changed, capsys)
    assert on_the_card == word
    assert said in printed
    assert got == status


@pytest.mark.parametrize(
    ("changed", "status", "said"),
    [
        (
            {FORWARD: differ, WITNESS: differ, LOCK: drifted},
            1,
            "it differs from a reference that is not the locked one",
        ),
        ({FORWARD: nothing}, 1, "nothing is proven: compared nothing"),
        ({FORWARD: drifted}, 1, "nothing is proven: source: got the code changed"),
        ({FORWARD: silent}, 0, "the reference declares that it cannot answer: no such shape"),
    ],
)
def test_what_proves_nothing(
    capsys: pytest.CaptureFixture[str], changed: dict[Case, object], status: int, said: str
) -> None:
    """A case without a proof would read as one, or a silence of the reference as the subject's fault."""
    got, printed, _ = shown(toys.SOUND, changed, capsys)
    assert said in printed
    assert got == status


def test_who_gave_which_value(capsys: pytest.CaptureFixture[str]) -> None:
    """The faulty side's value would stand there as the wanted one, without a name."""
    _, printed, _ = shown(toys.SOUND, {FORWARD: lambda case: differ(case, numeric=True)}, capsys)
    assert "got        1   (subject: sound, " in printed
    assert "want       2   (reference: peft:gate)" in printed
    assert "same case  against closed:gate: AGREE" in printed


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"what": "output: shape", "got": "(20,)", "want": "(1, 20)"},
            "outcome    DIFFER: shape (20,) instead of (1, 20)",
        ),
        ({"numeric": True, "error": 1e308, "limit": 1e-12}, "error      none: a side is not finite, limit 1e-12"),
    ],
)
def test_what_differs_is_named(capsys: pytest.CaptureFixture[str], more: dict[str, object], said: str) -> None:
    """A wrong shape would read as two numbers compared, and NaN as an error of 1e+308."""
    aspect = (Compared("output", "shape"),)
    _, printed, _ = shown(toys.SOUND, {FORWARD: lambda case: differ(case, differing=aspect, **more)}, capsys)
    assert said in printed


def test_what_is_not_compared(capsys: pytest.CaptureFixture[str]) -> None:
    """A reference that gives NaN would be counted as an error of 1e+308 against it."""
    nan = {"numeric": True, "want": "nan", "fault": Fault.REFERENCE, "error": 1e308, "limit": 1e-12}
    _, printed, _ = shown(toys.SOUND, {FORWARD: lambda case: differ(case, **nan)}, capsys)
    assert "outcome    NOT COMPARED: the reference gives NaN" in printed
    assert "judge      not counted, because of the reference (peft:gate): " in printed


def test_how_near_an_agreement_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody would know how near to its limit an agreement is."""
    near = {"what": "output", "error": 1.0, "limit": 4.0, "numeric": True}
    _, printed, _ = shown(toys.SOUND, {FORWARD: lambda case: agree(case, **near)}, capsys)
    assert "closest    output (0.25 of its limit)" in printed


def test_one_case_is_run_with_its_witnesses() -> None:
    """The judge could not tell whose fault a difference is."""
    plan = [p.case for p in plan_for(("sound",), toys.ONE, FORWARD.id)]
    assert plan[0] == FORWARD
    assert {WITNESS, LOCK} < set(plan)
    assert all(case.check == "references" or case.probe == FORWARD.probe for case in plan)
