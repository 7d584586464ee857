"""Where peft itself is wrong, the closed form says so in every section: gradients, low precision and starts, too."""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conformance.judging.judge import UNDECIDED, judge
from conformance.nouns.entry import Entry
from conformance.nouns.finding import SECOND, Case, Compared, Fault, Finding, Outcome
from conformance.nouns.verdict import Label, Verdict
from conformance.planning.plan import Planned, make_plan
from conformance.reporting.state import State, state_of
from conformance.running.run import run_case
from refs.reference import Live
from refs.settings import Settings
from refs.subject import Subject
from refs.transcriptions import antipasto_corda as corda
from refs.transcriptions.svd_family import oriented, product
from subjects.own.roster import ENTRIES

STANDING_IN: dict[str, Entry] = {}
"""Entries that take the place of the registered ones for the time of a test."""


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


def verdict_of(name: str, checks: set[str], layers: str = "peft") -> Verdict:
    """What the judge makes of a variant's cases of these checks, against peft (or others) and the closed form."""
    entry = STANDING_IN.get(name) or next(entry for entry in ENTRIES if entry.name == name)
    planned = [
        p for p in make_plan([entry]) if p.check.name in checks and p.reference.id.startswith((layers, "closed"))
    ]
    evidence = {p.case.id: run_case(p) for p in planned}
    deviations = [d for d in entry.deviations if any(f"/{check}/" in d.cases for check in checks)]
    return judge([name], [p.case for p in planned], evidence, {name: deviations}, needed=())[0]


ALTERED = (
    pytest.param(
        "dora",
        ("peft.tuners.lora.dora", "DoraLinearLayer", "forward"),
        (
            ("lora_weight=lora_weight.detach()", "lora_weight=lora_weight"),
            ("weight_norm = weight_norm.detach()", "pass"),
        ),
        {"gradients", "low_precision", "trajectory"},
        id="dora: the norm is not detached",
    ),
    pytest.param(
        "hra",
        ("peft.tuners.hra.layer", "HRALayer", "reset_hra_parameters"),
        (("half_u, a=math.sqrt(5)", "half_u, a=math.sqrt(3)"),),
        {"init", "low_precision"},
        id="hra: a wider start",
    ),
    pytest.param(
        "ia3",
        ("peft.tuners.ia3.layer", "IA3Layer", "reset_ia3_parameters"),
        (("self.ia3_l[adapter_name], 1.0", "self.ia3_l[adapter_name], 0.0"),),
        {"init", "gradients", "low_precision", "trajectory"},
        id="ia3: a gate that starts at zero",
    ),
    pytest.param(
        "pissa",
        ("peft.tuners.lora.layer", "LoraLayer", "pissa_init"),
        (("Sr /= self.scaling[adapter_name]\n        Uhr = Uh[", "Uhr = Uh["),),
        {"init", "params", "low_precision", "trajectory"},
        id="pissa: singular values not divided by the scale",
    ),
    pytest.param(
        "eva",
        ("peft.utils.incremental_pca", "IncrementalPCA", "partial_fit"),
        (("X -= col_mean", "X -= 0 * col_mean"),),
        {"init", "shared_inputs"},
        id="eva: the first batch is not centred",
    ),
)
"""A variant, a function of peft, what is altered in it, and the checks in which the card must say whose fault it is."""


@pytest.mark.parametrize(("name", "where", "fragments", "checks"), ALTERED)
def test_the_altered_reference_is_blamed_in_every_section(
    rewritten: Callable[..., None],
    name: str,
    where: tuple[str, str, str],
    fragments: tuple[tuple[str, str], ...],
    checks: set[str],
) -> None:
    """A right variant would be called wrong, or only one section would say that the reference is."""
    owner = getattr(importlib.import_module(where[0]), where[1])
    rewritten(owner, where[2], **{f"f{n}": pair for n, pair in enumerate(fragments)})
    verdict = verdict_of(name, checks)
    assert verdict.buggy == (), verdict.buggy[0].finding.message()
    blamed = {d.case.check for d in verdict.reference_faults if d.finding.fault is not Fault.REFERENCE}
    assert blamed == checks


UNDETACHED = ALTERED[0]


@pytest.mark.parametrize("sound", [True, False], ids=["a right variant", "a wrong variant"])
def test_a_point_in_lower_precision_is_decided_by_the_closed_form(rewritten: Callable[..., None], sound: bool) -> None:
    """Beside an altered reference the points of ``space`` in lower precision would prove nothing, or acquit anybody."""
    name, where, fragments, _ = UNDETACHED.values
    owner = getattr(importlib.import_module(where[0]), where[1])
    rewritten(owner, where[2], **{f"f{n}": pair for n, pair in enumerate(fragments)})
    entry = next(entry for entry in ENTRIES if entry.name == name)

    def build(layer: nn.Linear, settings: Settings) -> Subject:
        subject = entry.build(layer, settings)
        subject.leaves()["A"].register_hook(lambda gradient: 1.5 * gradient)
        return subject

    planned = [p for p in make_plan([entry if sound else replace(entry, build=build)]) if decidable(p)][::3]
    evidence = {p.case.id: run_case(p) for p in planned}
    (verdict,) = judge([name], [p.case for p in planned], evidence, needed=())
    told = "gradient of A, gradient of B. In float64, too, it differs from the closed form."
    acquitted = [d for d in verdict.reference_faults if told in d.finding.at_fault]
    differing = [f for f in evidence.values() if f.outcome is Outcome.DIFFER]
    assert len(differing) >= 4
    assert len(acquitted) == (len(differing) if sound else 0)
    assert len(verdict.buggy) == (0 if sound else len(differing))


def decidable(planned: Planned) -> bool:
    """Points with one backward in lower precision, without dropout masks, on the adapter that was built."""
    point, probe = dict(planned.probe.point), planned.probe
    built = "grad" not in point and point.get("life") not in ("saved", "reloaded", "folded")
    low = probe.dtype != "float64" and point.get("calls") != "double"
    masked = probe.training and dict(probe.options).get("dropout") == 0.3
    of_peft = planned.case.check == "space" and planned.reference.id == "peft:dora"
    return of_peft and built and low and not masked


def linear_gain(tensors: Mapping[str, Tensor], W: Tensor, bias: Tensor | None, config: corda.Config) -> Any:
    """1 + coeff g in place of 1 + ELU(coeff g)."""
    return W + product(tensors["U"], tensors["S"] * (1 + config.coeff * tensors["g"]), tensors["P"]), bias


def centred(W: Tensor, config: corda.Config, inputs: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
    """The basis of the inputs' covariance in place of that of their second moment."""
    rows = inputs if mask is None else inputs[mask.bool()]
    return {**oriented(W, config.r, rows - rows.mean(0), config.eps), "g": W.new_zeros(config.r)}


@pytest.mark.parametrize(
    ("part", "other", "checks"),
    [
        pytest.param("effective", linear_gain, {"forward", "gradients", "low_precision", "trajectory"}, id="the gain"),
        pytest.param("initial", centred, {"init", "params"}, id="the basis"),
    ],
)
def test_an_altered_transcription_is_blamed(
    part: str, other: Callable[..., Any], checks: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in what was written down from the authors' code would be held against a right variant."""
    changed: dict[str, Any] = {part: other}
    monkeypatch.setattr(corda, "TRANSCRIPTION", replace(corda.TRANSCRIPTION, **changed))
    verdict = verdict_of("antipasto_corda", checks, "authors")
    assert verdict.buggy == (), verdict.buggy[0].finding.message()
    blamed = {d.case.check for d in verdict.reference_faults if d.finding.fault is not Fault.REFERENCE}
    assert blamed == checks
    assert {d.case.reference for d in verdict.reference_faults} == {"authors:antipasto_corda"}
    # Where rounded inputs are other data, or training goes on from the start, the formula is not asked.
    assert {why for _, why in verdict.unproven} <= {UNDECIDED}


@pytest.mark.parametrize("name", ["ia3", "pissa", "hra"])
def test_a_wrong_start_is_no_fault_of_the_reference(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The witness of starts would take the side of a variant that starts elsewhere."""
    entry = next(entry for entry in ENTRIES if entry.name == name)

    def build(layer: nn.Linear, settings: Settings) -> Subject:
        subject = entry.build(layer, settings)
        first = next(iter(subject.leaves().values()))
        with torch.no_grad():
            first.mul_(1.5)
        return subject

    monkeypatch.setitem(STANDING_IN, name, replace(entry, build=build))
    verdict = verdict_of(name, {"init"})
    assert verdict.label is Label.BUGGY
    assert {d.case.reference.partition(":")[0] for d in verdict.buggy} == {"peft", "closed"}


def test_what_follows_from_a_wrong_gradient_is_undecided() -> None:
    """A gradient penalty beside an altered reference would convict the variant: no closed form answers there."""
    once, double = (Case("gate", "peft:gate", "space", probe) for probe in ("once", "double"))
    witness = Case("gate", "closed:gate", "space", "once")
    g, of_x = Compared("gradient of g"), Compared("gradient of x", SECOND)
    evidence = {
        once.id: Finding(once.id, Outcome.DIFFER, 4, differing=(g,)),
        witness.id: Finding(witness.id, Outcome.AGREE, 4, asked=(g,)),
        double.id: Finding(double.id, Outcome.DIFFER, 4, differing=(replace(g, aspect=SECOND), of_x)),
    }
    (verdict,) = judge(["gate"], [once, witness, double], evidence, needed=())
    assert verdict.label is Label.UNPROVEN
    assert state_of(double, evidence[double.id], verdict) is State.UNDECIDED
    outputs = replace(evidence[double.id], differing=(Compared("output"), of_x))
    (verdict,) = judge(["gate"], [once, witness, double], {**evidence, double.id: outputs}, needed=())
    assert verdict.label is Label.BUGGY


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
