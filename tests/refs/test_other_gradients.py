"""DoRA's two gradients: the authors' other option is on the card, measured, and code that has it is told so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from conformance.checks.check import SMALL
from conformance.measuring.other_gradients import EQUAL
from conformance.nouns.entry import Entry
from conformance.nouns.facts import OptionFacts
from conformance.nouns.finding import Fault, Finding, Outcome
from conformance.planning.plan import make_plan
from conformance.reporting import report
from conformance.reporting.view import CardView
from conformance.running.evidence import Evidence
from conformance.running.run import run_case
from proof.ask import verdict_on
from proof.seeded.faults.dora import DoRANormNotDetached
from refs.settings import Settings
from subjects.own.attached import attached
from subjects.own.roster import ENTRIES

DORA = next(entry for entry in ENTRIES if entry.name == "dora")
GRAPH = replace(
    DORA, build=lambda layer, settings: attached(DoRANormNotDetached, layer, settings), code=DoRANormNotDetached
)


def perturbed(entry: Entry, reference: str) -> Finding:
    """What the check of gradients finds in the first perturbed case against a reference."""
    return next(
        run_case(p)
        for p in make_plan((entry,))
        if p.case.reference == reference and p.case.check == "gradients" and p.probe == SMALL
    )


def distances(finding: Finding) -> dict[str, tuple[bool, bool]]:
    """By tensor: whether subject and reference have the other gradient."""
    assert isinstance(finding.facts, OptionFacts)
    return {pair.name: (pair.subject == EQUAL, pair.reference == EQUAL) for pair in finding.facts.tensors}


def test_the_other_gradient_by_automatic_differentiation() -> None:
    """The card would measure the distance from a gradient that nobody has: the adjoint by hand could be wrong."""
    assert DORA.method is not None
    (alternative,) = DORA.method.alternatives
    rng = np.random.default_rng(5)
    W, G = rng.standard_normal((7, 5)), rng.standard_normal((7, 5))
    given = {"A": rng.standard_normal((3, 5)), "B": rng.standard_normal((7, 3)), "m": rng.standard_normal(7)}
    found = alternative.pullback(given, W, np.zeros(7), Settings(r=3, alpha=4.5), G, np.zeros(7))
    t = {name: torch.from_numpy(value).requires_grad_() for name, value in given.items()}
    V = torch.from_numpy(W) + 1.5 * t["B"] @ t["A"]
    (((t["m"] / V.norm(dim=1))[:, None] * V) * torch.from_numpy(G)).sum().backward()  # type: ignore[no-untyped-call]
    for name, leaf in t.items():
        assert leaf.grad is not None
        np.testing.assert_allclose(found[name], leaf.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("reference", ["peft:dora", "closed:dora"])
def test_here_and_in_peft_the_norm_is_a_constant(reference: str) -> None:
    """The card would say that peft has the other gradient, or that the two are the same."""
    found = perturbed(DORA, reference)
    assert found.outcome is Outcome.AGREE
    assert distances(found) == {"A": (False, False), "B": (False, False), "m": (True, True)}


def test_code_with_the_other_gradient_is_told_so() -> None:
    """Whoever wrote dora_simple=False would be told that two gradients are off, and not why."""
    found = perturbed(GRAPH, "peft:dora")
    assert found.outcome is Outcome.DIFFER
    assert distances(found) == {"A": (True, False), "B": (True, False), "m": (True, True)}
    assert found.explained.startswith("these are the gradients of the authors' dora_simple=False: ")
    verdict = verdict_on(GRAPH, ("gradients",))
    assert verdict.label.value == "BUGGY"
    assert {decided.finding.fault for decided in verdict.reference_faults} == {Fault.REFERENCE}  # ill-conditioned


def test_another_mistake_is_not_called_an_option() -> None:
    """Any wrong gradient would pass for the authors' other option."""
    off = replace(DORA, build=lambda layer, s: attached(DORA.code, layer, replace(s, alpha=2 * (s.alpha or 1))))
    found = perturbed(off, "peft:dora")
    assert found.outcome is Outcome.DIFFER
    assert "dora_simple" not in found.explained


def card_of(entry: Entry) -> CardView:
    """The view of a card from the gradients alone."""
    planned = [p for p in make_plan((entry,)) if p.case.check == "gradients"]
    (view,) = report.judged((entry,), Evidence({p.case.id: run_case(p) for p in planned}))
    return view


def test_the_table_on_the_card() -> None:
    """What was measured would be in the evidence alone; or a method with one gradient would have an empty table."""
    view = card_of(DORA)
    (other,) = view.other_gradients
    assert other.sides == ["subject", "closed:dora", "peft:dora"]
    assert all(other.cell("m", side) == EQUAL for side in other.sides)
    assert all(other.cell("A", side).startswith("between 1e") for side in other.sides)
    text = report.render((view,))["dora.md"]
    assert "the authors' `dora_simple=False`" in text
    assert "| m | equal | equal | equal |" in text
    lora = next(entry for entry in ENTRIES if entry.name == "lora")
    assert card_of(lora).other_gradients == []
