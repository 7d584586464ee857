"""Second derivatives where a function has a kink, or a root of zero: the reference's own are no measure there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from conformance.nouns.finding import SECOND, Fault, Finding, Outcome
from conformance.planning.plan import Planned
from conformance.running.run import run_case
from proof.ask import cases_of
from proof.seeded.fault import Seeded
from proof.seeded.faults.svd_parts import AntiPaSTOInParts
from proof.seeded.registry import REWRITES, entry_of

DOUBLE = "calls=double"


class _Gain(torch.autograd.Function):
    """g -> 1 + elu(g), whose backward takes its own derivative for a constant."""

    @staticmethod
    def forward(ctx: Any, g: Tensor) -> Tensor:
        ctx.save_for_backward(g)
        return 1 + torch.nn.functional.elu(g)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (g,) = ctx.saved_tensors
        return grad * torch.where(g > 0, torch.ones_like(g), g.exp()).detach()


class SecondDerivativeLost(AntiPaSTOInParts):
    """Right in its output and its gradient, wrong in the gradient of its gradient."""

    def curve(self, z: Tensor) -> Tensor:
        out: Tensor = _Gain.apply(z)
        return out


def second(planned: list[Planned], state: str) -> list[Finding]:
    """What the cases with a double backward in this state find, beside a layer."""
    chosen = [p for p in planned if DOUBLE in p.case.id and p.probe.state == state and "closed:" not in p.case.id]
    assert chosen
    return [run_case(p) for p in chosen]


def of(name: str) -> list[Planned]:
    """The cases of ``space`` for a correct rewrite."""
    return cases_of(entry_of(next(r for r in REWRITES if r.name == name)), {"space"})


def test_at_a_kink_nothing_is_the_subjects_fault() -> None:
    """Of two correct ways to write a gain that starts at its kink, one would be called wrong."""
    found = second(of("AntiPaSTOFromNumPy"), "t0")
    differing = [f for f in found if f.outcome is Outcome.DIFFER]
    assert differing
    assert all(f.fault is Fault.REFERENCE for f in differing)
    assert {c.aspect for f in differing for c in f.differing} == {SECOND}


def test_where_the_reference_gives_nan_nothing_is_the_subjects_fault() -> None:
    """A subject that gives 0 for an empty batch, as is right, would be called wrong by a reference that gives NaN."""
    found = second(of("DeLoRANormsByEinsum"), "t0")
    differing = [f for f in found if f.outcome is Outcome.DIFFER]
    assert differing
    assert all(f.fault is Fault.REFERENCE and f.want == "nan" for f in differing)


def test_a_wrong_second_derivative_is_the_subjects_fault() -> None:
    """The excuse for kinks would cover every wrong second derivative."""
    wrong = entry_of(Seeded(SecondDerivativeLost, "antipasto", "space"))
    found = second(cases_of(wrong, {"space"}), "perturbed")
    differing = [f for f in found if f.outcome is Outcome.DIFFER]
    assert differing
    assert all(f.fault is Fault.SUBJECT for f in differing)
