"""Tests of the check that puts adapters on layers in 4 and in 8 bits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from conformance.checks.check import Check
from conformance.checks.use import quantised
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
from proof.seeded.faults import evaluated
from proof.seeded.faults.codes import SEEDED_FAULTS, LoRARefusesCodes
from proof.seeded.registry import entry_of
from refs.reference import Live
from subjects.own.entry import entry_for
from subjects.own.roster import ENTRIES
from tests.harness import toys
from variants.pissa import PiSSA
from variants.runtime.errors import AdapterError

CHECK = Check("quantised", quantised.__doc__ or "", quantised.probes, quantised.run)
PROMISED = ("lora", "eva", "ia3", "ia3_ff", "road")


def promising(entry: Entry) -> Entry:
    """The entry with the promise to work, where its method never looks at the weight."""
    kept = tuple(law for law in entry.invariants if law != quantised.LAW)
    like = entry.method.name if entry.method else ""
    return replace(entry, invariants=(*kept, quantised.LAW) if like in PROMISED else kept)


def entry(name: str) -> Entry:
    return promising(next(entry for entry in ENTRIES if entry.name == name))


def findings(entry: Entry) -> list[Finding]:
    return [run_case(case) for case in make_plan([entry], (CHECK,))]


@pytest.mark.parametrize("name", PROMISED)
def test_methods_that_leave_the_weight_alone_work(name: str) -> None:
    """Else QLoRA and its relatives would be refused, or computed on something else than what the codes stand for."""
    for finding in findings(entry(name)):
        assert finding.outcome is Outcome.AGREE, finding.message()
        beside = "a plain layer" if AVX512 in finding.case else "its own quantised layer"
        assert (finding.facts.use, finding.facts.compared_with) == (Use.WORKS, beside)
        assert finding.n_compared > 1000


@pytest.mark.parametrize("name", ["pissa", "antipasto_corda"])
def test_methods_that_replace_the_weight_refuse(name: str) -> None:
    """Else a residual would be written over the codes."""
    for finding in findings(entry(name)):
        assert finding.outcome is Outcome.AGREE, finding.message()
        assert isinstance(finding.facts, Answer)
        assert finding.facts.use is Use.REFUSES
        assert finding.facts.message.startswith("AdapterError: ")
        assert {"what the refusal says", "layer after the refusal", "weight after the refusal"} <= {
            thing.name for thing in finding.asked
        }


def test_a_promise_is_held() -> None:
    """Else a variant could stop supporting quantised layers, and nobody would see."""
    refusing = promising(entry_for(LoRARefusesCodes, like=entry("lora")))
    assert {finding.outcome for finding in findings(refusing)} == {Outcome.DIFFER}
    assert {finding.outcome for finding in findings(replace(refusing, invariants=()))} == {Outcome.AGREE}


class PiSSARefusesTooLate(PiSSA):
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
    first = findings(entry_for(variant, like=entry("pissa")))[0]
    assert first.outcome is Outcome.DIFFER
    assert first.differing == (Compared(what),)


@pytest.mark.parametrize("seeded", [*SEEDED_FAULTS, *evaluated.SEEDED_FAULTS], ids=lambda seeded: seeded.name)
def test_wrong_variant_is_killed(seeded: Seeded) -> None:
    """Else an adapter that takes codes for weights would be called correct."""
    first = next(f for f in findings(promising(entry_of(seeded))) if f.outcome is not Outcome.AGREE)
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
