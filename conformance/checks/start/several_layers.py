"""Does each of several layers of one shape get its own initial values: other draws, nothing shared or mixed up?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from conformance.checks.check import SMALL, with_options
from conformance.checks.start.init import sign_free
from conformance.measuring.compare import Comparison, close, conclude, raised, same
from conformance.measuring.trial import RESIDUAL, SubjectFailed, Trial, asking_the_subject
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import Reference

LAYERS = 3


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Once per entry that can be put on several layers by one call."""
    if entry.lifecycle is None or entry.lifecycle.several is None or entry.method is None:
        return ()
    if reference is not entry.method.main:
        return ()
    plain = replace(SMALL, state="t0", d_in=16, d_out=16, options=reference.options)
    return (plain, *(probe for probe in with_options(entry, plain) if dict(probe.options).get("calibration")))


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
    layers = _layers(trial)
    with asking_the_subject():
        torch.default_generator.manual_seed(7)
        made = trial.entry.lifecycle.several(layers, trial.probe.settings)
    addresses = [tensor.data_ptr() for each in made for tensor in each.values()]
    yield same(len(set(addresses)), len(addresses), "tensors of several layers in memory of their own")
    tensors = [{name: t.detach() for name, t in each.items() if name in alone[0]} for each in made]
    together = [sign_free(trial, {**each, RESIDUAL: layer.weight.detach()}) for each, layer in zip(tensors, layers)]
    by_itself, redrawn = ([sign_free(trial, each) for each in starts] for starts in (alone, again))
    for name, start in together[0].items():
        starts = [each[name] for each in together]
        if not start.is_floating_point():
            continue
        if not torch.equal(by_itself[0][name], redrawn[0][name]):
            apart = all(not torch.equal(one, other) for i, one in enumerate(starts) for other in starts[i + 1 :])
            yield same(apart, True, f"{name} drawn separately for each of several layers")
        else:
            for got, want in zip(starts, by_itself):
                yield close(got.double(), want[name].double(), f"{name} of several layers at t=0")


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
    made = [trial.subject(layer, seed=seed) for layer in _layers(trial)]
    return [{**subject.values(), RESIDUAL: subject.weight.clone()} for subject in made]
