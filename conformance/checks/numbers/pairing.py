"""Which outputs does the first angle rotate into each other, by default and in the authors' pairing?"""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from conformance.checks.check import SMALL, named
from conformance.measuring.compare import conclude, same
from conformance.measuring.trial import Trial, asking_the_subject
from conformance.nouns.entry import Entry
from conformance.nouns.facts import PairingFacts
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import Built, Reference, Transcribed
from refs.subject import Subject

DEFAULT = 64
"""Outputs per group where nothing is said, in peft and here."""
TURN = 0.5  # radians
COSINE, SINE = math.cos(TURN), math.sin(TURN)


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """The default group size, and groups of two; beside every layer of a method whose authors' pairing is known."""
    if not isinstance(reference, Built) or not _rotates_pairs(entry):
        return ()
    wide = replace(SMALL, d_out=2 * DEFAULT, state="t0")
    return (
        replace(wide, options=(("group_size", DEFAULT),), special="default"),
        *(replace(wide, options=(("group_size", 2), ("kind", kind))) for kind in ("road_1", "road_2")),
    )


def run(trial: Trial) -> Finding:
    """Turn the first angle and see which output moves with the first one."""
    with asking_the_subject():
        own = _partner(trial.subject(), trial.probe.d_in)
    theirs = _partner(trial.reference_subject(), trial.probe.d_in)
    facts = PairingFacts(named(trial.probe), tuple(own), tuple(theirs))
    return conclude(trial.case, [same(own, theirs, "partner of the first output")], facts=facts)


def _rotates_pairs(entry: Entry) -> bool:
    method = entry.method
    return method is not None and any(isinstance(r, Transcribed) and "pairing" in r.checks for r in method.references)


def _partner(subject: Subject, d_in: int) -> list[int]:
    """The outputs that move when the first angle does, without the first one."""
    x = torch.linspace(1, 2, d_in, dtype=torch.float64)[None]
    with torch.no_grad():
        before = subject(x)
        theta = torch.zeros_like(subject.values()["theta"])
        theta[0] = TURN
        subject.load({"theta": theta})
        moved: list[int] = (subject(x) != before)[0].nonzero().flatten().tolist()
        if moved == [0]:  # one angle for each output: the first one gets what its partner gives
            share = (subject(x)[0, 0] - COSINE * before[0, 0]) / -SINE
            return [int((before[0] - share).abs().argmin())]
    return [i for i in moved if i]
