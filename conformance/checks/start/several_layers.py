"""Does each of several layers of one shape get a start of its own: other draws, nothing shared, nothing mixed up?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from conformance.checks.check import SMALL
from conformance.measuring.compare import Comparison, close, conclude, raised, same
from conformance.measuring.trial import SubjectFailed, Trial, asking_the_subject
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import Reference

LAYERS = 3


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Once per entry that can be put on several layers by one call."""
    if entry.lifecycle is None or entry.lifecycle.several is None or entry.method is None:
        return ()
    return (replace(SMALL, state="t0", d_in=16, d_out=16),) if reference is entry.method.main else ()


def run(trial: Trial) -> Finding:
    """One call for three layers that differ in one entry of their weights, against each layer alone."""
    try:
        return conclude(trial.case, list(_compared(trial)))
    except SubjectFailed as failure:
        return raised(trial.case, str(failure), expected="several layers of one shape get an adapter each")


def _compared(trial: Trial) -> Iterator[Comparison]:
    assert trial.entry.lifecycle is not None
    assert trial.entry.lifecycle.several is not None
    alone, again = (_alone(trial, seed) for seed in (0, 1))
    with asking_the_subject():
        torch.default_generator.manual_seed(7)
        made = trial.entry.lifecycle.several(_layers(trial), trial.probe.settings)
    addresses = [tensor.data_ptr() for each in made for tensor in each.values()]
    yield same(len(set(addresses)), len(addresses), "tensors of several layers in memory of their own")
    for name, first in made[0].items():
        starts = [each[name].detach() for each in made]
        if name not in alone[0] or not first.is_floating_point():
            continue
        if _draws(alone, again, name):
            apart = all(not torch.equal(one, other) for i, one in enumerate(starts) for other in starts[i + 1 :])
            yield same(apart, True, f"{name} drawn anew for each of several layers")
        elif not _looks_at_data(trial):  # there a layer sees what comes out of those before it
            for start, own in zip(starts, alone):
                yield close(start.double(), own[name], f"{name} of several layers at t=0")


def _layers(trial: Trial) -> tuple[nn.Linear, ...]:
    """Of one shape; each differs from the first in the last row alone, where a key by shape or by a corner is blind."""
    layers = []
    for number in range(LAYERS):
        layer = trial.layer()
        with torch.no_grad():
            layer.weight[-1] *= 1 + number
        layers.append(layer)
    return tuple(layers)


def _alone(trial: Trial, seed: int) -> list[Mapping[str, Tensor]]:
    return [trial.subject(layer, seed=seed).values() for layer in _layers(trial)]


def _draws(alone: list[Mapping[str, Tensor]], again: list[Mapping[str, Tensor]], name: str) -> bool:
    return not torch.equal(alone[0][name], again[0][name])


def _looks_at_data(trial: Trial) -> bool:
    return "calibration" in dict(trial.probe.options)
