"""References of somebody's own: a formula alone proves what it can tell, and a wrong one says what it got."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conformance.foreign.entry import entry
from conformance.foreign.preflight import preflight
from conformance.judging.needed import needed
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Outcome
from conformance.nouns.lifecycle import Lifecycle
from conformance.nouns.promises import FOREIGN, Stored
from conformance.nouns.verdict import Label
from conformance.planning.names import BadRequest
from conformance.planning.plan import make_plan
from conformance.reporting import report
from conformance.reporting.view import CardView
from conformance.running.evidence import Evidence
from conformance.running.run import run_case
from refs.foreign.formula import formula
from refs.reference import Array, Method
from refs.registry import METHODS
from refs.settings import Settings
from refs.subject import Subject

ONE_DTYPE = replace(FOREIGN, mixes_dtypes=False, stored=Stored.AS_LAYER)


def effective(t, W, b, settings):  # type: ignore[no-untyped-def]
    """A low-rank update whose A stays as it was drawn, with a gain on the outputs that the bias sees, too."""
    return (W + settings.alpha / settings.r * t["B"] @ t["A"]) * t["g"][:, None], b * t["g"]


def start(W: Tensor, settings: Settings) -> dict[str, Tensor]:
    """A as ``nn.Linear`` draws its weight; B zero, g one."""
    A = nn.init.kaiming_uniform_(torch.empty(settings.r, W.shape[1]), a=math.sqrt(5))
    return {"A": A, "B": torch.zeros(len(W), settings.r), "g": torch.ones(len(W))}


ALONE = Method("gained", (formula("gained", effective, start, "W' = diag(g) (W + s B A), b' = g b", frozen=("A",)),))


class Gained(nn.Module):
    """The method as somebody wrote it."""

    trains_a, gains_bias = False, True

    def __init__(self, base: nn.Linear, r: int, alpha: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        weight = base.weight
        self.A = nn.Parameter(weight.new_empty(r, base.in_features), requires_grad=self.trains_a)
        self.B = nn.Parameter(weight.new_zeros(base.out_features, r))
        self.g = nn.Parameter(weight.new_ones(base.out_features))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.scaling = alpha / r

    def forward(self, x: Tensor) -> Tensor:
        """(W x + s B A x) g + b g."""
        y = nn.functional.linear(x, self.base.weight) + x @ self.A.T @ self.B.T * self.scaling
        bias = 0 if self.base.bias is None else self.base.bias
        return (y + bias) * self.g if self.gains_bias else y * self.g + bias


class TrainsA(Gained):
    """A is trained, though the method keeps it."""

    trains_a = True


class ForgetsBias(Gained):
    """The bias does not see the gain."""

    gains_bias = False


def audited(kind: type[Gained], method: Method = ALONE) -> Entry:
    """A class as an entry; its tensors are found by the formula's own start."""
    return entry(kind.__name__, method, lambda layer, s: kind(layer, s.r, s.alpha), code=kind, promises=ONE_DTYPE)


@cache
def card(kind: type[Gained]) -> CardView:
    """Its whole audit."""
    of = audited(kind)
    preflight((of,))
    findings = {planned.case.id: run_case(planned) for planned in make_plan((of,))}
    (view,) = report.judged((of,), Evidence(findings), "mine:ENTRY")
    return view


def test_a_formula_alone_can_make_correct() -> None:
    """Whoever has a formula and no other implementation of it could never be told that his code is right."""
    view = card(Gained)
    assert view.verdict.label is Label.CORRECT, view.verdict.reason
    asked = {case.check for case in view.planned}
    assert asked >= {"params", "init", "gradients", "forward", "trajectory", "influence", "space"}
    assert not asked & {"references", "low_precision"}
    text = report.render((view,))["Gained.md"]
    assert "a formula does not say how much rounding is allowed" in text
    assert "arxiv" not in text


@pytest.mark.parametrize(
    ("kind", "check", "told"), [(TrainsA, "params", "A: trainable"), (ForgetsBias, "forward", "output")]
)
def test_what_is_wrong_beside_a_formula_is_found(kind: type[Gained], check: str, told: str) -> None:
    """The formula would prove whatever it is shown."""
    view = card(kind)
    assert view.verdict.label is Label.BUGGY
    found = [decided.finding for decided in view.verdict.buggy if decided.case.check == check]
    assert told in {f.what for f in found} | {name for f in found for name in f.others}


def folded(off: float) -> Callable[[Subject], None]:
    """A merge that writes W' and b' into the layer, the update times ``off``, and takes the module off."""

    def merge(subject: Subject) -> None:
        module = subject.host.get_submodule("layer")
        assert isinstance(module, Gained)
        with torch.no_grad():
            update = module.scaling * off * module.B @ module.A
            module.base.weight.copy_((module.base.weight + update) * module.g[:, None])
            if module.base.bias is not None:
                module.base.bias.mul_(module.g)
        subject.host.layer = module.base

    return merge


@pytest.mark.parametrize(("off", "label", "checks"), [(1.0, Label.CORRECT, set()), (1.5, Label.BUGGY, {"merge"})])
def test_a_lifecycle_beside_a_formula_is_asked_what_a_formula_can_tell(
    off: float, label: Label, checks: set[str]
) -> None:
    """Autocast and half precision, of which a formula tells nothing, would make every such entry UNPROVEN."""
    of = replace(audited(Gained), lifecycle=Lifecycle(merge=folded(off)))
    plan = [p for p in make_plan((of,)) if p.case.check in ("merge", "execution_modes")]
    assert {p.probe.special for p in plan if p.case.check == "execution_modes"} >= {"cast", "compile", "deepcopy"}
    found = [run_case(planned) for planned in plan]
    assert not [f for f in found if f.outcome is Outcome.ERROR]
    assert {f.case.split("/")[2] for f in found if f.outcome is Outcome.DIFFER} == checks


def test_gradients_by_differentiation_are_those_worked_out_by_hand() -> None:
    """The gradients of a formula of one's own would be wrong, and right code be blamed."""
    hand = next(m for m in METHODS if m.name == "dora").closed
    assert hand is not None
    assert hand.pullback is not None

    def dora(t, W, b, settings):  # type: ignore[no-untyped-def]
        V = W + settings.alpha / settings.r * t["B"] @ t["A"]
        return t["m"][:, None] * V / V.norm(dim=1, keepdim=True).detach()

    own = formula("dora", dora, lambda W, s: {}, "as in peft, the norm detached")
    rng = np.random.default_rng(5)
    t: dict[str, Array] = {"A": rng.normal(size=(4, 12)), "B": rng.normal(size=(20, 4)), "m": rng.normal(size=20)}
    W, b, G, h = rng.normal(size=(20, 12)), rng.normal(size=20), rng.normal(size=(20, 12)), rng.normal(size=20)
    settings = Settings(r=4, alpha=6.0)
    assert np.allclose(own.effective(t, W, b, settings)[0], hand.effective(t, W, b, settings)[0], rtol=0, atol=1e-12)
    assert own.pullback is not None
    mine, theirs = own.pullback(t, W, b, settings, G, h), hand.pullback(t, W, b, settings, G, h)
    assert mine.keys() == theirs.keys()
    assert all(np.allclose(mine[name], theirs[name], rtol=0, atol=1e-11) for name in mine)


def test_a_tensor_that_the_formula_does_not_use_has_a_gradient_of_zero() -> None:
    """An unused tensor would end in an error of autograd's."""
    own = formula("idle", lambda t, W, b, s: W, lambda W, s: {"a": torch.zeros(3)}, "W' = W")
    W, b = np.ones((2, 3)), np.zeros(2)
    assert own.pullback is not None
    assert own.pullback({"a": np.zeros(3)}, W, b, Settings(), W, b)["a"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda t, W, b, s: W.T, r"got shape \(3, 2\) for W', want \(2, 3\)"),
        (lambda t, W, b, s: (W, 1.0), "got a float for b', want a tensor"),
    ],
)
def test_a_formula_that_gives_no_weight_says_so(made, told: str) -> None:  # type: ignore[no-untyped-def]
    """A transposed weight would be a shape error deep in the harness, or a broadcast that passes."""
    own = formula("odd", made, lambda W, s: {}, "odd")
    with pytest.raises((TypeError, ValueError), match=told):
        own.effective({}, np.ones((2, 3)), np.zeros(2), Settings())


def test_a_wrong_formula_is_the_entrys_mistake() -> None:
    """Each case would say in its own way that the reference broke, and none what to do."""
    transposed = Method("t", (formula("t", lambda t, W, b, s: W.T, start, "wrong", frozen=("A",)),))
    with pytest.raises(BadRequest, match=r"the formula raised ValueError: formula t: got shape \(12, 20\) for W'"):
        preflight((audited(Gained, transposed),))


def test_what_must_have_agreed_follows_from_the_references() -> None:
    """A formula alone would be UNPROVEN for what it cannot tell, or a layer be excused from it."""
    lora = next(m for m in METHODS if m.name == "lora")
    assert {"references", "low_precision"} <= set(needed(audited(Gained, lora)))
    assert "gradients" in needed(audited(Gained))


def parts(W: Tensor, r: int, s: float) -> tuple[Tensor, Tensor]:
    """A and B, so that |s| B A is the principal part of W."""
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    root = (S[:r] / abs(s)).sqrt()
    return root[:, None] * Vh[:r], U[:, :r] * root


class Principal(nn.Module):
    """A start that takes the principal part out of the weight, and leaves the rest in the layer."""

    takes = True

    def __init__(self, base: nn.Linear, r: int, alpha: float) -> None:
        super().__init__()
        self.base, self.s, dtype = base.requires_grad_(False), alpha / r, base.weight.dtype
        A, B = parts(base.weight.detach().float(), r, self.s)
        self.A, self.B = nn.Parameter(A.to(dtype)), nn.Parameter(B.to(dtype))
        if self.takes:
            left = base.weight.double() - self.s * self.B.double() @ self.A.double()
            base.weight.data = left.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Base and update."""
        y: Tensor = self.base(x) + self.s * (x @ self.A.T) @ self.B.T
        return y


class Twice(Principal):
    """The principal part is in the layer, too."""

    takes = False


@pytest.mark.parametrize(("kind", "label"), [(Principal, Label.CORRECT), (Twice, Label.BUGGY)])
def test_a_formula_of_a_method_that_leaves_a_residual(kind: type[Principal], label: Label) -> None:
    """Such a method would be asked for the weight that it replaced, or for signs that a decomposition chose."""
    form = formula(
        "principal",
        lambda t, W, b, s: W + s.alpha / s.r * t["B"] @ t["A"],
        lambda W, s: dict(zip("AB", parts(W, s.r, s.alpha / s.r))),
        "W' = W_res + s B A",
    )
    method = Method("principal", (form,), replaces_weight=True, sign_free=lambda v, s: {"B A": v["B"] @ v["A"]})
    names = {"A": "A", "B": "B"}
    of = entry("p", method, lambda layer, s: kind(layer, s.r, s.alpha), names=names, code=kind, promises=ONE_DTYPE)
    findings = {planned.case.id: run_case(planned) for planned in make_plan((of,))}
    (view,) = report.judged((of,), Evidence(findings), "mine:ENTRY")
    assert view.verdict.label is label, view.verdict.reason
    checks = {decided.case.check for decided in view.verdict.buggy}
    assert checks == (set() if kind is Principal else {"reconstruction"})
