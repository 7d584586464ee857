"""Three states of a library that written reviews once judged, rebuilt as wrong variants and judged by measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from conformance.nouns.verdict import Deviation, Label
from proof.ask import QUICK_CHECKS, Asked, cases_of
from proof.pool import each
from proof.seeded.faults.antipasto_rot import AntiPaSTORotDeltaAtZero
from proof.seeded.faults.delora import DeLoRARandomB, DeLoRAZeroStrength
from proof.seeded.faults.dora import DoRANormNotDetached, DoRAScalesTheBias
from proof.seeded.faults.hra import HRAGatedByZero, HRAReversedOrder
from proof.seeded.faults.ia3 import IA3FFGateOnTheOutput
from proof.seeded.faults.lifecycle import EVALoadingAsksForData
from proof.seeded.faults.pissa import PiSSAWithoutDivisionByS
from subjects.own.entry import entry_for
from subjects.own.roster import ENTRIES
from variants.runtime.adapter import Adapter
from variants.runtime.spec import TensorSpec

BUGGY, PARTIAL, CORRECT = Label.BUGGY, Label.PARTIAL, Label.CORRECT


class DeLoRAScalarNormRandomB(DeLoRARandomB):
    """One norm for the whole weight, and B drawn like A."""

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        norm = TensorSpec((d_in,), lambda shape, layer: layer.weight.detach().norm().expand(shape), buffer=True)
        return {**super().specs(config, d_in, d_out), "w": norm}


class DeLoRAZeroStrengthRandomB(DeLoRARandomB):
    """The strength starts at zero, and B is drawn like A."""

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {**super().specs(config, d_in, d_out), "lam": TensorSpec((1,), "zeros")}


class EVAFrozenInABuffer(EVALoadingAsksForData):
    """A is a buffer, and loading asks for calibration data."""

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        return {**super().specs(config, d_in, d_out), "A": TensorSpec((config.r, d_in), buffer=True)}


@dataclass(frozen=True)
class Then:
    """One variant in one state of that library. ``variant``: None for one that had no bug, as it stands here.

    ``want``: the label when nobody declares the difference, and (for a difference on purpose) the one when it is.
    """

    state: str
    column: str
    like: str
    variant: type[Adapter] | None
    bug: str
    want: Label
    declared: Label | None = None


def _own(state: str, name: str) -> Then:
    return Then(state, name, name, None, "none", CORRECT)


PISSA = ("pissa", "pissa", PiSSAWithoutDivisionByS, "S not divided by s", BUGGY, PARTIAL)
ROT = ("antipasto", "antipasto_rot", AntiPaSTORotDeltaAtZero, "delta starts at exactly zero", BUGGY, PARTIAL)
HRA = ("hra", "hra", HRAReversedOrder, "reflections in reverse order; a written review called it CORRECT", BUGGY)
EVA = ("eva", "eva", EVAFrozenInABuffer, "A is a buffer, and loading asks for calibration data", BUGGY)
HISTORY: tuple[Then, ...] = (
    _own("second", "lora"),
    Then("second", *PISSA),
    Then("second", "delora", "delora", DeLoRAScalarNormRandomB, "one norm for all columns, B Kaiming", BUGGY),
    Then("second", "ia3", "ia3_ff", IA3FFGateOnTheOutput, "output gate on feed-forward layers", BUGGY),
    Then("second", "dora", "dora", DoRANormNotDetached, "norm not detached", BUGGY),
    Then("second", "dora", "dora", DoRAScalesTheBias, "bias scaled", BUGGY),
    Then("second", "hra", "hra", HRAGatedByZero, "gated by a zero scalar", BUGGY),
    _own("third", "lora"),
    Then("third", *PISSA),
    Then("third", "delora", "delora", DeLoRAZeroStrength, "lambda starts at zero", BUGGY),
    _own("third", "ia3"),
    Then("third", "dora", "dora", DoRAScalesTheBias, "bias scaled", BUGGY),
    Then("third", *HRA),
    Then("third", *EVA),
    Then("third", *ROT),
    _own("fourth", "lora"),
    Then("fourth", *PISSA),
    Then("fourth", "delora", "delora", DeLoRAZeroStrengthRandomB, "lambda starts at zero, B Kaiming", BUGGY),
    _own("fourth", "ia3"),
    Then("fourth", "dora", "dora", DoRANormNotDetached, "bias mended, norm not detached", BUGGY),
    _own("fourth", "dora"),
    Then("fourth", *HRA),
    Then("fourth", *EVA),
    Then("fourth", *ROT),
)


@dataclass(frozen=True)
class Replayed:
    """A row of ``HISTORY`` with what the harness says; ``checks``: those that hold something against it."""

    state: str
    column: str
    like: str
    bug: str
    want: str
    got: str
    want_declared: str
    got_declared: str
    checks: tuple[str, ...]

    @property
    def as_wanted(self) -> bool:
        """Both labels are those that the state deserves."""
        return (self.got, self.got_declared) == (self.want, self.want_declared)


def run(workers: int, chosen: tuple[Then, ...] = HISTORY, checks: Sequence[str] = QUICK_CHECKS) -> list[Replayed]:
    """Every row, judged by these checks; what stands in several states is judged once."""
    jobs = list(dict.fromkeys((row.like, row.variant, row.declared is not None) for row in chosen))
    told = dict(zip(jobs, each(partial(_judged, checks=checks), jobs, workers)))
    return [_row(row, *told[row.like, row.variant, row.declared is not None]) for row in chosen]


def _row(row: Then, got: str, got_declared: str, checks: tuple[str, ...]) -> Replayed:
    declared = "" if row.declared is None else row.declared.value
    return Replayed(row.state, row.column, row.like, row.bug, row.want.value, got, declared, got_declared, checks)


def _judged(
    job: tuple[str, type[Adapter] | None, bool], checks: Sequence[str] = QUICK_CHECKS
) -> tuple[str, str, tuple[str, ...]]:
    name, variant, declaring = job
    like = next(entry for entry in ENTRIES if entry.name == name)
    asked = Asked(like if variant is None else entry_for(variant, like=like))
    for planned in cases_of(asked.entry, checks):
        asked.ask(planned)
    verdict = asked.verdict
    against = tuple(sorted({decided.case.check for decided in verdict.buggy}))
    if not declaring:
        return verdict.label.value, "", against
    label = asked.judged([_declaration(variant, check) for check in against]).label
    return verdict.label.value, label.value, against


def _declaration(variant: type[nn.Module] | None, check: str) -> Deviation:
    """What an author would declare who means it so."""
    what = (getattr(variant, "__doc__", "") or "").strip()
    return Deviation(f"*/{check}/*", what, "on purpose", "https://arxiv.org/abs/2404.02948", by_default=True)
