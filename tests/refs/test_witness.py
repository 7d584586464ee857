"""Where peft itself is wrong, the closed form says so in every section: gradients, low precision and starts, too."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from conformance.judging.judge import judge
from conformance.nouns.finding import Outcome
from conformance.nouns.verdict import Label, Verdict
from conformance.planning.plan import make_plan
from conformance.running.run import run_case
from refs.reference import Live
from subjects.own.roster import ENTRIES


@pytest.fixture
def rewritten(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Changes text in one method of peft for the time of the test, as if its source and the lock had changed."""

    def change(owner: type, method: str, **fragments: tuple[str, str]) -> None:
        source = textwrap.dedent(inspect.getsource(getattr(owner, method)))
        for old, new in fragments.values():
            assert old in source, f"{old} is no more in {owner.__name__}.{method}"
            source = source.replace(old, new)
        namespace: dict[str, Any] = dict(vars(inspect.getmodule(owner)))
        namespace["__class__"] = owner
        exec(compile(source, f"<{method} rewritten>", "exec"), namespace)
        monkeypatch.setattr(owner, method, namespace[method])

    return change


def verdict_of(name: str, checks: set[str]) -> Verdict:
    """What the judge makes of a variant's cases of these checks, against peft and the closed form."""
    entry = next(entry for entry in ENTRIES if entry.name == name)
    planned = [
        p for p in make_plan([entry]) if p.check.name in checks and p.reference.id.startswith(("peft", "closed"))
    ]
    evidence = {p.case.id: run_case(p) for p in planned}
    deviations = [d for d in entry.deviations if any(f"/{check}/" in d.cases for check in checks)]
    return judge([name], [p.case for p in planned], evidence, {name: deviations}, needed=())[0]


def test_dora_without_detach(rewritten: Callable[..., None]) -> None:
    """Else our right gradients would be called wrong because peft's norm got one."""
    from peft.tuners.lora.dora import DoraLinearLayer

    rewritten(
        DoraLinearLayer,
        "forward",
        weight=("lora_weight=lora_weight.detach()", "lora_weight=lora_weight"),
        norm=("weight_norm = weight_norm.detach()", "pass"),
    )
    verdict = verdict_of("dora", {"gradients", "low_precision"})
    assert verdict.label is not Label.BUGGY, verdict.buggy[0].finding.message()
    at_fault = {decided.case.check for decided in verdict.reference_faults}
    assert at_fault == {"gradients", "low_precision"}


def test_hra_starts_elsewhere(rewritten: Callable[..., None]) -> None:
    """Else our right start would be called wrong because peft's pairs got another fan-in."""
    from peft.tuners.hra.layer import HRALayer

    rewritten(HRALayer, "reset_hra_parameters", half=("half_u, a=math.sqrt(5)", "half_u.T, a=math.sqrt(5)"))
    verdict = verdict_of("hra", {"init"})
    assert verdict.label is not Label.BUGGY, verdict.buggy[0].finding.message()
    assert {decided.case.check for decided in verdict.reference_faults} == {"init"}


@pytest.mark.parametrize("name", [entry.name for entry in ENTRIES])
def test_every_closed_form_has_gradients(name: str) -> None:
    """Else a method would have no witness of its gradients."""
    entry = next(entry for entry in ENTRIES if entry.name == name)
    assert entry.method is not None
    assert entry.method.closed is not None
    assert entry.method.closed.pullback is not None
    planned = next(
        p
        for p in make_plan([entry])
        if p.case.reference == f"closed:{name}" and p.case.check == "gradients" and p.probe.state == "perturbed"
    )
    finding = run_case(planned)
    assert finding.outcome is Outcome.AGREE, finding.message()
    asked = {compared.name for compared in finding.asked}
    assert {"gradient of x", "tensors that train"} < asked
    assert not isinstance(planned.reference, Live)
