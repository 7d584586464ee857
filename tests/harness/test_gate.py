"""What keeps the gate shut: verdicts, and cards that are not those of this run."""

from __future__ import annotations

import pytest

from conformance.judging import gate
from conformance.nouns.verdict import Label, Verdict

EVERY = list(Label)


def verdict(label: Label, variant: str = "gate") -> Verdict:
    """A verdict with nothing but its label."""
    return Verdict(variant, label, "because")


@pytest.mark.parametrize("before", EVERY)
@pytest.mark.parametrize("now", EVERY)
def test_a_verdict_that_got_worse(before: Label, now: Label) -> None:
    """A worse verdict would get in, or a better one be kept out."""
    closed = gate.check((verdict(now),), {"gate": before}, ())
    shut = now is Label.UNPROVEN or now.rank < before.rank
    assert bool(closed.reasons) is shut
    assert closed.status == int(shut)


@pytest.mark.parametrize(
    ("now", "shut"), [(Label.BUGGY, True), (Label.UNPROVEN, True), (Label.PARTIAL, False), (Label.CORRECT, False)]
)
def test_a_new_variant(now: Label, shut: bool) -> None:
    """A variant could come in that was wrong from the start."""
    assert gate.check((verdict(now),), {}, ()).status == int(shut)


def test_an_unproven_variant_stays_out_even_if_it_was_committed_so() -> None:
    """Committing an UNPROVEN once would open the gate for it for good."""
    reasons = gate.check((verdict(Label.UNPROVEN),), {"gate": Label.UNPROVEN}, ()).reasons
    assert reasons == ("gate is UNPROVEN: because",)


def test_a_committed_variant_that_was_not_audited() -> None:
    """A BUGGY variant could be hidden by taking it off the roster."""
    closed = gate.check((verdict(Label.CORRECT),), {"gate": Label.CORRECT, "gone": Label.BUGGY}, ())
    assert closed.reasons == ("gone has a committed verdict and was not audited",)


def test_nothing_audited() -> None:
    """An empty roster would pass."""
    assert gate.check((), {}, ()).reasons == ("nothing was audited: the plan is empty",)


def test_a_card_that_is_out_of_date() -> None:
    """The committed cards could say something else than the run."""
    closed = gate.check((verdict(Label.CORRECT),), {"gate": Label.CORRECT}, ("reports/gate.md",))
    assert closed.reasons == ("reports/gate.md is out of date: commit what was just rendered",)


def test_every_reason_is_told_at_once() -> None:
    """A second problem would only show once the first is mended."""
    verdicts = (verdict(Label.UNPROVEN, "a"), verdict(Label.BUGGY, "b"), verdict(Label.CORRECT, "c"))
    closed = gate.check(verdicts, {"b": Label.CORRECT, "d": Label.CORRECT}, ("reports/c.md",))
    assert [reason.split()[0] for reason in closed.reasons] == ["a", "b", "d", "reports/c.md"]


@pytest.mark.parametrize(
    ("name", "text", "card"),
    [
        ("gate.md", "# gate: CORRECT\n", True),
        ("gate.md", "# gate: BUGGY\n\nAudited", True),
        ("gate.md", "# Gates\n\nNotes on gates.", False),
        ("README.md", "# Adapter conformance\n", False),
        ("README.md", "# gate: CORRECT\n", False),
        ("gate.md", None, False),
    ],
)
def test_what_is_a_card_and_what_is_somebody_elses(name: str, text: str | None, card: bool) -> None:
    """Rendering into a folder would delete what somebody else keeps there."""
    assert gate.is_card(name, text) is card
