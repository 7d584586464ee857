"""Are tensors, outputs and gradients of a trained adapter the same, bit for bit, after save and load on its base?"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from conformance.checks.check import DROPOUT, SMALL, WIDE, with_options
from conformance.measuring.compare import Comparison, close, conclude, holds, same
from conformance.measuring.trial import RESIDUAL, Trial, asking_the_subject, rounded
from conformance.measuring.trial import run as run_pass
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import Reference
from refs.subject import Subject


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Dtypes, dropout and option sets, once per entry that can save and load."""
    can = entry.lifecycle is not None and entry.lifecycle.save is not None and entry.lifecycle.load is not None
    if not can or entry.method is None or reference is not entry.method.main:
        return ()
    default = replace(WIDE, adapter=None)
    return (
        SMALL,
        replace(SMALL, bias=False),
        replace(default, dtype="float32"),
        replace(default, dtype="bfloat16"),
        replace(default, dtype="float16"),
        replace(default, dtype="bfloat16", adapter="bfloat16"),
        replace(SMALL, training=True, options=(("dropout", DROPOUT),) if entry.has_dropout else ()),
        *with_options(entry, SMALL),
    )


def run(trial: Trial) -> Finding:
    """Save, load onto the same base and compare; load onto another base, which must fail."""
    life = trial.entry.lifecycle
    assert life is not None
    assert life.save is not None
    assert life.load is not None
    subject = trial.subject()
    values = rounded(trial.state(subject), subject)
    values.pop(RESIDUAL, None)
    with asking_the_subject(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adapter"
        subject.load(values)
        # What the adapter is doing when it is saved must not come back: the layer's own flag counts.
        subject.train(not trial.probe.training)
        life.save(subject, path)
        subject.train(trial.probe.training)
        torch.default_generator.manual_seed(12345)
        back = life.load(_layer(trial), path)
        comparisons = list(_equal(trial, back, subject))
        if trial.entry.promises.checks_base:
            comparisons += _other_base_refused(trial, path)
    return conclude(trial.case, comparisons)


def _layer(trial: Trial) -> nn.Linear:
    return trial.layer().train(trial.probe.training)


def _equal(trial: Trial, back: Subject, subject: Subject) -> Iterator[Comparison]:
    was, now = subject.slots(), back.slots()
    yield same(sorted(now), sorted(was), "tensors after loading")
    for name in sorted(was.keys() & now.keys()):
        yield close(now[name].value, was[name].value, f"{name} after loading", scale=0.0)
        kinds = [(s.kind, s.trainable) for s in (now[name], was[name])]
        yield same(kinds[0], kinds[1], f"kind of {name} after loading")
    yield close(back.base.weight.detach(), subject.base.weight.detach(), "weight of the layer after loading", scale=0.0)
    yield same(_modes(back), [trial.probe.training], "training mode after loading")
    back.train(trial.probe.training)
    got = run_pass(back, trial.x, trial.cotangent)
    want = run_pass(subject, trial.x, trial.cotangent)
    yield close(got.y, want.y, "output after loading", scale=0.0)
    yield close(got.grad_x, want.grad_x, "gradient of x after loading", scale=0.0)
    for name, grad in want.grads.items():
        yield close(got.grads.get(name), grad, f"gradient of {name} after loading", scale=0.0)


def _modes(subject: Subject) -> list[bool]:
    """The training flags in the layer, adapter included: they must follow the layer's, not the saved adapter's."""
    return sorted({module.training for module in subject.base.modules()})


def _other_base_refused(trial: Trial, path: Path) -> Iterator[Comparison]:
    """-W has the same shape, and for most methods the same singular values and norms."""
    other = _layer(trial)
    with torch.no_grad():
        other.weight.neg_()
    before = _bits(other)
    told = ""
    assert trial.entry.lifecycle is not None
    assert trial.entry.lifecycle.load is not None
    try:
        trial.entry.lifecycle.load(other, path)
    except Exception as error:
        told = str(error)
    yield holds(bool(told), "loading onto another base", "no error", "an error")
    yield same(sorted(_bits(other)), sorted(before), "tensors of the base that was refused")
    for name, tensor in before.items():
        yield close(_bits(other).get(name), tensor, f"{name} of the base that was refused", scale=0.0)


def _bits(layer: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in layer.state_dict().items()}
