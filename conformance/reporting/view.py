"""What a card shows, computed from a verdict: plain data for the templates, nothing measured anew."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TypeVar

from conformance.nouns.entry import Entry
from conformance.nouns.facts import (
    Answer,
    BasisFacts,
    CoverageFacts,
    Facts,
    FlowFacts,
    InfluenceFacts,
    InitFacts,
    LinkFacts,
    LockFacts,
    OptionFacts,
    ParamsFacts,
    SubspaceFacts,
    Use,
)
from conformance.nouns.finding import Case, Drawn, Finding, Outcome, Severity
from conformance.nouns.verdict import Deviation, Label, Verdict
from conformance.reporting.rows import Note, Row, rows
from conformance.reporting.state import State, section_word, state_of, tally

F = TypeVar("F", bound=Facts)

SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("references", ("references",)),
    ("params", ("params", "influence", "refusals", "promises")),
    (
        "init",
        (
            "init",
            "data_init",
            "reconstruction",
            "ranks",
            "shared_inputs",
            "several_layers",
            "gradients",
        ),
    ),
    ("dtype", ("low_precision",)),
    (
        "forward",
        (
            "forward",
            "steering",
            "contraction",
            "orthogonality",
            "chirality",
            "penalty",
            "pairing",
            "masks",
            "recorded",
        ),
    ),
    ("training", ("trajectory",)),
    ("lifecycle", ("detach", "checkpoint", "merge", "coexistence")),
    ("use", ("space", "quantised", "execution_modes", "exchange")),
)
"""Sections of the card in order, and the checks each is made of."""

WAYS: tuple[tuple[str, str, str], ...] = (
    ("4-bit", "quantised", "*-[nf]*4"),
    ("4-bit, AVX512-BF16", "quantised", "*-[nf]*4-avx512*"),
    ("8-bit", "quantised", "*-int8"),
    ("compile", "execution_modes", "*-compile"),
    ("activation checkpointing", "execution_modes", "*-recompute"),
    ("autocast", "execution_modes", "*-autocast"),
    ("deepcopy", "execution_modes", "*-deepcopy"),
    ("pickle", "execution_modes", "*-pickle"),
    ("functional_call", "execution_modes", "*-functional_call"),
    ("cast", "execution_modes", "*-cast"),
    ("peft export", "exchange", "peft-export*"),
    ("peft import", "exchange", "peft-import*"),
    ("merge", "merge", "*"),
)
"""What may be done with an adapted layer, the columns of the index's second table: name, check, pattern over probes."""


@dataclass(frozen=True)
class OtherGradient:
    """Another gradient that the authors offer: by tensor and side, how far that side is from it, in words."""

    option: str
    what: str
    tensors: dict[str, dict[str, set[str]]]

    @property
    def sides(self) -> list[str]:
        """The subject and the references, in one order for all rows."""
        return list(dict.fromkeys(side for sides in self.tensors.values() for side in sides))

    def cell(self, tensor: str, side: str) -> str:
        """``equal``, or how far off; of several cases everything that was seen."""
        words = sorted(self.tensors[tensor].get(side, ()))
        return ", ".join(words) if words else "-"


@dataclass(frozen=True)
class CardView:
    """Everything the card's template reads."""

    entry: Entry
    verdict: Verdict
    planned: tuple[Case, ...]
    place: str = ""
    """Where the entries are (``MODULE:ATTRIBUTE``), if they are not this repository's own."""

    def command(self, row: Row) -> str:
        """The command that shows a finding: one case again, or all of them where it speaks of no case."""
        return replace(row, variant=self.name, place=self.place).command

    @property
    def promised(self) -> list[str]:
        """What the entry says of the code's limits, with what the run showed of each; and what is not asked."""
        found = {case.probe: finding for case, finding in self.findings("promises")}
        lines = []
        for label, words in self.entry.promises.limits:
            finding = found.get(label)
            shows = finding is not None and finding.outcome is Outcome.AGREE
            lines.append(f"Limit: {words} ({'shown' if shows else 'NOT SHOWN'} in this run).")
        return lines + [f"Not tested: {words}." for words in self.entry.promises.unasked]

    @property
    def name(self) -> str:
        """The variant."""
        return self.entry.name

    @property
    def main(self) -> str:
        """Id of the reference that the card leads with."""
        return self.entry.method.main.id if self.entry.method is not None else ""

    def findings(self, check: str, reference: str = "") -> list[tuple[Case, Finding | None]]:
        """Planned cases of a check with what was found, in the plan's order; of one reference, if it is named."""
        return [
            (case, self.verdict.findings.get(case.id))
            for case in self.planned
            if case.check == check and reference in ("", case.reference)
        ]

    def stated(self, kind: type[F], check: str, reference: str = "") -> list[tuple[Case, F]]:
        """Every fact of a kind that a check states; against one reference, if it is named."""
        pairs = self.findings(check, reference)
        return [(case, f.facts) for case, f in pairs if f is not None and isinstance(f.facts, kind)]

    def first(self, kind: type[F], check: str, reference: str = "") -> F | None:
        """The first fact of a kind that a check states, against the main reference unless another is named."""
        return next((facts for _, facts in self.stated(kind, check, reference or self.main)), None)

    def lock(self, reference: str) -> LockFacts | None:
        """What the lock says of a reference."""
        return self.first(LockFacts, "references", reference)

    @property
    def links(self) -> LinkFacts | None:
        """What the links say."""
        return self.first(LinkFacts, "references")

    def online(self, reference: str) -> str:
        """What the record says of the files behind a reference, for the end of a cell: when they were followed."""
        links = self.first(LinkFacts, "references", reference)
        return f"; {links.source_online}" if links is not None and links.source_online else ""

    @property
    def params(self) -> ParamsFacts | None:
        """The tensors of both sides under the first test configuration."""
        return self.first(ParamsFacts, "params")

    @property
    def idle(self) -> tuple[str, ...]:
        """Tensors that do not change the output."""
        facts = self.first(InfluenceFacts, "influence")
        return facts.idle if facts is not None else ()

    @property
    def init(self) -> InitFacts | None:
        """How the tensors start."""
        return self.first(InitFacts, "init")

    @property
    def drawn(self) -> tuple[Drawn, ...]:
        """How the random tensors start, beside the main reference if that draws, else beside another."""
        found = [f.drawn for r in (self.main, "") for _, f in self.findings("init", r) if f is not None and f.drawn]
        return found[0] if found else ()

    @property
    def flow(self) -> FlowFacts | None:
        """Gradient flow at t=0."""
        return self.first(FlowFacts, "gradients")

    @property
    def other_gradients(self) -> list[OtherGradient]:
        """What the perturbed cases say of another gradient that the authors offer: per tensor, for every side."""
        found: dict[str, OtherGradient] = {}
        for case, facts in self.stated(OptionFacts, "gradients"):
            told = found.setdefault(facts.option, OtherGradient(facts.option, facts.what, {}))
            for pair in facts.tensors:
                sides = told.tensors.setdefault(pair.name, {})
                sides.setdefault("subject", set()).add(pair.subject)
                sides.setdefault(case.reference, set()).add(pair.reference)
        return list(found.values())

    @property
    def coverage(self) -> CoverageFacts | None:
        """What the points of the space cover."""
        return next((facts for _, facts in self.stated(CoverageFacts, "space")), None)

    @property
    def subspaces(self) -> list[SubspaceFacts]:
        """How near a start from data comes to the exact subspace, per set of inputs."""
        return [facts for _, facts in self.stated(SubspaceFacts, "data_init")]

    @property
    def bases(self) -> list[tuple[Case, BasisFacts]]:
        """How near both sides' bases are."""
        return self.stated(BasisFacts, "data_init")

    def tally(self, check: str, reference: str = "") -> str:
        """How many cases of a check agree, and what happened to each of the others."""
        return tally(self.states(self.findings(check, reference)))

    def states(self, pairs: Iterable[tuple[Case, Finding | None]]) -> list[State]:
        """What became of each case."""
        return [state_of(case, finding, self.verdict) for case, finding in pairs]

    def exceptions(self, check: str) -> str:
        """``2 exceptions``: the cases of a check that say nothing of the variant, since the reference is at fault."""
        states = self.states(self.findings(check))
        n = sum(state in (State.WITNESSED, State.FAULTY, State.ILL_CONDITIONED) for state in states)
        return f"{n} exception{'' if n == 1 else 's'}" if n else ""

    def section(self, checks: tuple[str, ...]) -> str:
        """The state of a section in one word, the worst of its cases."""
        return section_word(self.states(pair for check in checks for pair in self.findings(check)))

    def way(self, check: str, pattern: str) -> str:
        """``works`` or ``refuses`` where every such case agreed, else ``FAILS``; ``-`` where none is planned."""
        pairs = [(case, f) for case, f in self.findings(check) if fnmatchcase(case.probe, pattern)]
        if not pairs:
            return "-"
        if any(state is not State.AGREE for state in self.states(pairs)):
            return "FAILS"
        answers = [finding.facts for _, finding in pairs if finding is not None]
        return ", ".join(sorted({facts.use if isinstance(facts, Answer) else Use.WORKS for facts in answers}))

    @property
    def refusals(self) -> list[tuple[str, str]]:
        """Each way in which the variant refuses to be used, with its message."""
        return sorted(
            {
                (column, answer.message)
                for column, check, pattern in WAYS
                for case, answer in self.stated(Answer, check)
                if fnmatchcase(case.probe, pattern) and answer.use is Use.REFUSES
            }
        )

    @property
    def reference_location(self) -> str:
        """``file:line`` of the reference's main object, as the lock check found it."""
        lock = self.lock(self.main)
        return lock.location if lock is not None else "unknown"

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The findings worth acting on, worst first."""
        found = rows(self.verdict, self.planned, self.entry.location, self._location_of)
        return tuple(replace(row, place=self.place) for row in found)

    def _location_of(self, case: str) -> str:
        lock = self.lock(case.split("/")[1]) if case.count("/") else None
        return lock.location if lock is not None else self.reference_location

    def must_fix(self) -> list[Row]:
        """The reasons for BUGGY or UNPROVEN."""
        return [row for row in self.rows if row.severity is Severity.MUST_FIX]

    def notes(self) -> list[Row]:
        """Information: faults of the reference, and what was not compared."""
        return [row for row in self.rows if row.severity is not Severity.MUST_FIX]

    @property
    def deviates(self) -> list[str]:
        """What makes the label PARTIAL, one line each: for the first lines of the card."""
        lines = []
        for deviation, where in self.declared(False):
            if deviation.by_default:
                of = dict.fromkeys(f"`{case.split('/')[1]}`" for case in where)
                lines.append(f"Unlike {' and '.join(of)}: {deviation.what}. Declared (section 7).")
        return lines + [f"{row.note}: {row.told}" for row in self.notes() if row.note in (Note.STRICTER, Note.FLOAT64)]

    def declared(self, scope: bool) -> list[tuple[Deviation, tuple[str, ...]]]:
        """Declared deviations, or the scope cuts among them; those of equal words are one."""
        merged: dict[tuple[str, ...], tuple[Deviation, tuple[str, ...]]] = {}
        for deviation, where in self.verdict.declared:
            if deviation.scope is scope:
                words = (deviation.what, deviation.why, deviation.link, str(deviation.by_default))
                first, known = merged.get(words, (deviation, ()))
                merged[words] = (first, known + where)
        return list(merged.values())


def label_counts(views: tuple[CardView, ...]) -> str:
    """``4 CORRECT, 1 BUGGY``, the worst first."""
    counts = {label: sum(v.verdict.label is label for v in views) for label in Label}
    return ", ".join(f"{n} {label}" for label, n in counts.items() if n) or "nothing audited"
