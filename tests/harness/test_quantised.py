"""Tests of the check that puts adapters on layers in 4 and in 8 bits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from conformance.checks.check import Check
from conformance.checks.use import quantised, quantised_merge
from conformance.checks.use.packed import (
    AVX512,
    CALLED,
    KINDS,
    bits,
    change_one_scale,
    dequantised,
    is_rewritten,
    offers,
    packed,
    quietly,
    rewritten,
)
from conformance.nouns.entry import Entry
from conformance.nouns.facts import Answer, Use
from conformance.nouns.finding import Compared, Finding, Outcome
from conformance.planning.plan import make_plan
from conformance.running.run import run_case
from proof.seeded.fault import Seeded
from proof.seeded.faults import codes_merged, evaluated
from proof.seeded.faults.codes import SEEDED_FAULTS, LoRARefusesCodes
from proof.seeded.registry import entry_of
from refs.reference import Live
from refs.settings import Settings
from refs.subject import Subject
from subjects.own.attached import attached, lifecycle_of
from subjects.own.entry import entry_for
from subjects.own.roster import ENTRIES
from tests.harness import toys
from variants.antipasto_corda import AntiPaSTOCorDA
from variants.pissa import PiSSA
from variants.runtime.adapter import Adapter
from variants.runtime.errors import AdapterError

OF_PEFT = ("lora", "eva", "dora", "ia3", "ia3_ff", "road")
"""Of which peft has a layer of its own for codes."""
CHECK = Check("quantised", quantised.__doc__ or "", quantised.probes, quantised.run)
NAMES = tuple(entry.name for entry in ENTRIES)
SOME = ("lora", "dora", "pissa", "antipasto_corda")
"""One that leaves the weight alone, one that reads it, two that take a part of it over; the audit asks all of them."""


def refuse_codes(adapter: Adapter, layer: nn.Module) -> None:
    """As a method may that replaces the weight."""
    if adapter.on_codes:
        got = f"{type(layer).__name__} with a {layer.weight.dtype} weight"
        raise AdapterError(got=got, want="a plain weight", where=adapter.name, fix="Leave this layer out.")


class PiSSARefusesCodes(PiSSA):
    """Works on plain weights only, and says so."""

    def check_layer(self, layer: nn.Module) -> None:
        refuse_codes(self, layer)
        super().check_layer(layer)


class AntiPaSTOCorDARefusesCodes(AntiPaSTOCorDA):
    """The same, of a method that looks at data."""

    def check_layer(self, layer: nn.Module) -> None:
        refuse_codes(self, layer)
        super().check_layer(layer)


def unpromising(entry: Entry) -> Entry:
    """The entry without its promises about codes."""
    laws = (quantised.LAW, quantised_merge.LAW)
    return replace(entry, invariants=tuple(law for law in entry.invariants if law not in laws))


def entry(name: str) -> Entry:
    return next(entry for entry in ENTRIES if entry.name == name)


def findings(entry: Entry) -> list[Finding]:
    return [run_case(case) for case in make_plan([entry], (CHECK,))]


@pytest.mark.parametrize("name", NAMES)
def test_every_variant_promises_it(name: str) -> None:
    """Else a variant could stop working there, and its card call the refusal correct."""
    assert {quantised.LAW, quantised_merge.LAW} <= set(entry(name).invariants)


@pytest.mark.parametrize("name", SOME)
def test_variants_work(name: str) -> None:
    """Else QLoRA and its relatives would be refused, or computed on something else than what the codes stand for."""
    for finding in findings(entry(name)):
        assert finding.outcome is Outcome.AGREE, finding.message()
        own = name in OF_PEFT and AVX512 not in finding.case
        beside = "its own quantised layer" if own else "a plain layer"
        assert (finding.facts.use, finding.facts.compared_with) == (Use.WORKS, beside)
        assert finding.n_compared > 1000
        if "/perturbed" in finding.case:
            asked = {thing.name for thing in finding.asked}
            assert {"merged weight", "output of the merged layer", "output after unmerging"} <= asked


@pytest.mark.parametrize("variant", [PiSSARefusesCodes, AntiPaSTOCorDARefusesCodes])
def test_methods_that_promise_nothing_may_refuse(variant: type[Adapter]) -> None:
    """Else code that says clearly what it does not do would be called wrong."""
    refusing = unpromising(entry_for(variant, like=entry(variant.name)))
    for finding in findings(refusing):
        assert finding.outcome is Outcome.AGREE, finding.message()
        assert isinstance(finding.facts, Answer)
        assert finding.facts.use is Use.REFUSES
        assert finding.facts.message.startswith("AdapterError: ")
        assert {"what the refusal says", "layer after the refusal", "weight after the refusal"} <= {
            thing.name for thing in finding.asked
        }


def test_a_promise_is_held() -> None:
    """Else a variant could stop supporting quantised layers, and nobody would see."""
    refusing = entry_for(LoRARefusesCodes, like=entry("lora"))
    assert {finding.outcome for finding in findings(refusing)} == {Outcome.DIFFER}
    assert {finding.outcome for finding in findings(unpromising(refusing))} == {Outcome.AGREE}


@pytest.mark.parametrize("clear", [False, True])
def test_merging_is_a_promise_of_its_own(clear: bool) -> None:
    """Else code that trains on codes and refuses to merge into them would be called wrong, or a crash a refusal."""
    found = entry("lora")
    assert found.lifecycle is not None

    def merge(subject: Subject) -> None:
        raise ValueError("4-bit and 8-bit (quantised) weights are not merged into" if clear else "no")

    refusing = replace(found, lifecycle=replace(found.lifecycle, merge=merge))
    promises_less = replace(refusing, invariants=(quantised.LAW,))
    first = [next(f for f in findings(each) if "/perturbed" in f.case) for each in (refusing, promises_less)]
    assert [each.outcome for each in first] == [Outcome.DIFFER, Outcome.AGREE if clear else Outcome.DIFFER]


class AntiPaSTOCorDARefusesAfterCalibration(AntiPaSTOCorDARefusesCodes):
    """Runs the whole calibration, and only then refuses the layer, which has changed by then. Found in real code."""

    lifecycle = lifecycle_of(AntiPaSTOCorDARefusesCodes)

    @staticmethod
    def build(layer: nn.Linear, settings: Settings) -> Subject:
        late = (AntiPaSTOCorDARefusesCodes, "refuse", classmethod(lambda cls, config, layer: None))
        with evaluated._with(evaluated.UNGUARDED_CALIBRATION, evaluated.NEVER_HELD, late):
            return attached(AntiPaSTOCorDARefusesCodes, layer, settings)


def test_a_refusal_after_calibration_is_seen() -> None:
    """Else a layer that bitsandbytes rewrote on the way to a refusal would pass for one that was left alone."""
    like = entry("antipasto_corda")
    refusing = replace(entry_for(AntiPaSTOCorDARefusesAfterCalibration, like=like), build=_late)
    assert Outcome.DIFFER in {finding.outcome for finding in findings(unpromising(refusing))}


def _late(layer: nn.Linear, settings: Settings) -> Subject:
    return AntiPaSTOCorDARefusesAfterCalibration.build(layer, settings)


class PiSSARefusesTooLate(PiSSARefusesCodes):
    """Takes the bias away, then refuses."""

    def check_layer(self, layer: nn.Module) -> None:
        if layer.bias is not None:
            layer.bias.data.zero_()  # type: ignore[union-attr, operator]
        super().check_layer(layer)


class PiSSARefusesInRiddles(PiSSA):
    """Says no, and not why."""

    def check_layer(self, layer: nn.Module) -> None:
        raise AdapterError(got="this", want="that", where="here", fix="Think.")


@pytest.mark.parametrize(
    ("variant", "what"),
    [(PiSSARefusesTooLate, "bias after the refusal"), (PiSSARefusesInRiddles, "what the refusal says")],
)
def test_a_refusal_is_clear_and_leaves_the_layer_alone(variant: type[PiSSA], what: str) -> None:
    """Else any crash would pass for a refusal."""
    first = findings(unpromising(entry_for(variant, like=entry("pissa"))))[0]
    assert first.outcome is Outcome.DIFFER
    assert first.differing == (Compared(what),)


@pytest.mark.parametrize(
    "seeded", [*SEEDED_FAULTS, *codes_merged.SEEDED_FAULTS, *evaluated.SEEDED_FAULTS], ids=lambda seeded: seeded.name
)
def test_wrong_variant_is_killed(seeded: Seeded) -> None:
    """Else an adapter that takes codes for weights would be called correct."""
    asked = (run_case(case) for case in make_plan([entry_of(seeded)], (CHECK,)))
    first = next(finding for finding in asked if finding.outcome is not Outcome.AGREE)
    assert first.outcome is Outcome.DIFFER, first.message()
    assert first.raised == seeded.raises, first.message()


def test_a_formula_without_a_life_is_not_asked() -> None:
    """Else somebody else's function would have to know of codes."""
    assert findings(toys.SOUND) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dequantised_weight_is_what_the_layer_multiplies_with(kind: str, dtype: torch.dtype) -> None:
    """Else the truth would be that of another layer."""
    torch.manual_seed(0)
    layer = packed(nn.Linear(64, 128, dtype=dtype), kind).train()  # in eval mode 8 bits round the input too
    x = torch.randn(16, 64, dtype=dtype, requires_grad=True)
    assert not layer.weight.is_floating_point()
    with quietly():
        y = layer(x)
    exact = x.double() @ dequantised(layer).T + layer.bias.double()
    assert (y.double() - exact).abs().max() < 8 * torch.finfo(dtype).eps


def test_codes_survive_a_copy_of_the_bits() -> None:
    """Else what is compared after a refusal would be the same memory twice."""
    layer = packed(nn.Linear(64, 64), "nf4")
    kept = bits(layer)
    with torch.no_grad():
        layer.weight[:8] ^= 255
    assert not torch.equal(kept["weight"], bits(layer)["weight"])


def test_where_peft_has_a_quantised_layer() -> None:
    """Else a variant would be held against another reference than the card says."""
    mains = {entry.name: entry.method.main for entry in ENTRIES if entry.method is not None}
    having = {name for name, main in mains.items() if isinstance(main, Live) and offers(main.objects)}
    assert having == {"lora", "eva", "dora", "pissa", "ia3", "ia3_ff", "road"}


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_a_layer_called_before_has_the_same_codes_and_rounded_scales(kind: str) -> None:
    """Else the probe of a rewritten layer would ask about another weight, or about a layer that is not rewritten."""
    torch.manual_seed(0)
    plain = nn.Linear(64, 128)
    fresh, called = packed(plain, kind), packed(plain, kind + CALLED)
    assert (is_rewritten(fresh), is_rewritten(called)) == (False, True)
    one, two = bits(fresh), bits(called)
    assert is_rewritten(called)  # and looking at it leaves it so
    assert torch.equal(one["weight"], two["weight"])
    assert torch.equal(one["scales"].to(torch.bfloat16).float(), two["scales"])
    assert torch.equal(one["bias"], two["bias"])


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_a_called_layer_multiplies_with_what_its_codes_stand_for(kind: str) -> None:
    """Else an adapter on it would be compared with the truth of another layer."""
    torch.manual_seed(0)
    layer = packed(nn.Linear(64, 128), kind + CALLED).eval()
    x = torch.randn(16, 64)
    with torch.no_grad(), rewritten():
        y = layer(x)
    exact = x.double() @ dequantised(layer).T + layer.bias.double()
    assert (y.double() - exact).square().mean().sqrt() < 2 * torch.finfo(
        torch.bfloat16
    ).eps * exact.square().mean().sqrt()


@pytest.mark.parametrize("kind", ["nf4", "fp4", "int8"])
def test_another_scale_is_another_weight(kind: str) -> None:
    """Else the base that must be refused would be the right one."""
    torch.manual_seed(0)
    layer = packed(nn.Linear(64, 128), kind)
    numbers, codes = dequantised(layer).clone(), bits(layer)["weight"]
    change_one_scale(layer)
    changed = dequantised(layer) != numbers
    assert changed[0].any()
    assert not changed[1:].any()
    assert torch.equal(bits(layer)["weight"], codes)
