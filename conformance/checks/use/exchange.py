"""Does peft compute the same with an exported adapter, and this code the same with an adapter of peft?"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from conformance.checks.check import SMALL
from conformance.measuring.compare import Comparison, close, conclude, holds, raised, same
from conformance.measuring.trial import RESIDUAL, SubjectFailed, Trial, asking_the_subject
from conformance.measuring.trial import run as run_pass
from conformance.nouns.entry import Entry
from conformance.nouns.facts import Answer, Use
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import Live, Reference
from refs.subject import Host, Subject

EXPORT, IMPORT = "peft-export", "peft-import"
LEAST_CHANGE = 1e-2
"""How much a trained adapter must change the output at least, relative: two bare layers would agree as well."""


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Export and import per option set that the main reference covers."""
    if entry.method is None or reference is not entry.method.main:
        return ()
    # peft decomposes no float64 weight.
    probe = replace(SMALL, dtype="float32", adapter=None) if entry.method.replaces_weight else SMALL
    live = isinstance(reference, Live)
    ways = [EXPORT] if entry.lifecycle is not None and entry.lifecycle.to_peft is not None else []
    ways += [IMPORT] if live and entry.lifecycle is not None and entry.lifecycle.from_peft is not None else []
    asked = []
    for options in ((), *(entry.options if live else ())):
        probe = replace(probe, options=tuple(sorted({**dict(reference.options), **dict(options)}.items())))
        said = "".join(f"-{name}" if value is True else f"-{name}={value}" for name, value in options)
        # A start that takes a part of the weight over is not in peft's files, so not each can be imported.
        chosen = [EXPORT] if options and entry.method.replaces_weight else ways
        if reference.covers(probe.settings):
            asked += [replace(probe, label=way + said) for way in chosen if way in ways]
    return tuple(asked)


def run(trial: Trial) -> Finding:
    """Export and let peft load it, or import what peft wrote, and compare the outputs."""
    with tempfile.TemporaryDirectory() as place, _quietly():
        folder = Path(place) / "adapter"
        if trial.probe.label.startswith(IMPORT):
            return conclude(trial.case, _imported(trial, folder), facts=Answer(Use.WORKS))
        subject = trial.subject()
        subject.load({name: value for name, value in trial.state(subject).items() if name != RESIDUAL})
        before = subject.values()
        life = trial.entry.lifecycle
        assert life is not None
        assert life.to_peft is not None
        try:
            with asking_the_subject():
                life.to_peft(subject, folder)
        except SubjectFailed as refusal:
            if isinstance(trial.reference, Live):
                expected = f"the reference {trial.reference.id} is a layer of peft, so the export to peft must work"
                return raised(trial.case, str(refusal), expected=expected)
            told = str(refusal).replace(str(folder), "adapter")  # the folder's name is another in each run
            return conclude(trial.case, _refused(trial, told, subject, before, folder), facts=Answer(Use.REFUSES, told))
        if not isinstance(trial.reference, Live):
            found = holds(False, "export of a method that peft does not have", _files(folder), "a refusal")
            return conclude(trial.case, [found])
        return conclude(trial.case, _exported(trial, subject, before, folder), facts=Answer(Use.WORKS))


def _exported(trial: Trial, subject: Subject, before: Mapping[str, Tensor], folder: Path) -> Iterator[Comparison]:
    from peft import PeftModel
    from safetensors.torch import load_file

    yield from _unchanged(subject, before, "after the export")
    layer = trial.layer()
    model = PeftModel.from_pretrained(Host(layer), str(folder))
    written = load_file(folder / "adapter_model.safetensors")
    yield same(
        sorted(written), sorted(_saved_again(model, folder.parent / "again")), "names of the tensors in the file"
    )
    got, bare = _output(subject, trial), _output(Subject(trial.layer(), trial.layer()), trial)
    want = _output(Subject(model.base_model.model, layer), trial)
    yield close(got, want, "output beside peft's, which loaded the export")
    yield _changes(want, bare)


def _imported(trial: Trial, folder: Path) -> Iterator[Comparison]:
    from peft import get_peft_model

    reference = trial.reference_subject()
    layer = trial.layer()
    host = Host(layer)
    config: Any = reference.host.peft_config["default"]  # type: ignore[index]
    model = get_peft_model(host, config)
    theirs = Subject(host, layer, reference.names)
    values = trial.state(theirs)
    values.pop(RESIDUAL, None)
    theirs.load(values)
    theirs.train(False)
    model.save_pretrained(str(folder))
    life = trial.entry.lifecycle
    assert life is not None
    assert life.from_peft is not None
    with asking_the_subject():
        subject = life.from_peft(trial.layer(), folder)
        got = _output(subject, trial)
    slots, want = subject.slots(), theirs.slots()
    yield same(sorted(slots.keys() & values), sorted(values), "tensors after the import")
    for name in sorted(slots.keys() & values):
        yield close(slots[name].value, want[name].value, f"{name} after the import", scale=0.0)
    bare = _output(Subject(trial.layer(), trial.layer()), trial)
    yield close(got, _output(theirs, trial), "output beside peft's, which wrote the file")
    yield _changes(got, bare)


def _refused(
    trial: Trial, told: str, subject: Subject, before: Mapping[str, Tensor], folder: Path
) -> Iterator[Comparison]:
    """A refusal names the method and its reason, writes nothing and changes nothing."""
    clear = trial.entry.name in told and "peft" in told
    yield holds(clear, "what the refusal says", told, f"an error that names {trial.entry.name} and peft")
    yield same(_files(folder.parent), "nothing", "files after the refusal")
    yield from _unchanged(subject, before, "after the refusal")


def _unchanged(subject: Subject, before: Mapping[str, Tensor], when: str) -> Iterator[Comparison]:
    now = subject.values()
    yield same(sorted(now), sorted(before), f"tensors {when}")
    for name in sorted(now.keys() & before.keys()):
        yield close(now[name], before[name], f"{name} {when}", scale=0.0)


def _saved_again(model: Any, folder: Path) -> list[str]:
    """The names that peft itself gives the tensors."""
    from safetensors import safe_open

    model.save_pretrained(str(folder))
    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        return list(file.keys())


def _output(subject: Subject, trial: Trial) -> Tensor:
    subject.train(False)
    return run_pass(subject, trial.x, trial.cotangent, backward=False).y


def _changes(y: Tensor, bare: Tensor) -> Comparison:
    share = float((y - bare).norm() / bare.norm())
    return holds(share > LEAST_CHANGE, "change of the output by the adapter", "almost none", "a visible one")


def _files(folder: Path) -> str:
    return ", ".join(sorted(os.listdir(folder))) or "nothing"


@contextmanager
def _quietly() -> Iterator[None]:
    """peft warns that a model of one layer has no config; and it must not look anything up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
