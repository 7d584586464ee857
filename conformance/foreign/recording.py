"""``conformance record vectors``: what an entry's code computes, as files that another entry is audited against."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from conformance.checks.check import PLAIN, SMALL, WIDE, with_options
from conformance.foreign.mapping import tensors_of
from conformance.measuring.trial import Run, Trial, rounded, run
from conformance.nouns.entry import Entry
from conformance.nouns.probe import Probe
from conformance.nouns.promises import Float64
from conformance.planning.names import BadRequest
from conformance.planning.plan import promised
from conformance.running.global_state import pinned
from refs.golden_vectors import MANIFEST
from refs.reference import Recorded
from refs.versions import installed

CHECK = "recorded"
LOW = ("float32", "bfloat16")
"""Recorded with the float64 numbers beside them, which say how exact the code was."""


@dataclass(frozen=True)
class Made:
    """Vectors that were recorded."""

    manifest: Path
    count: int
    entry: str
    location: str

    def __str__(self) -> str:
        return (
            f"{self.manifest}: {self.count} vectors of {self.entry} ({self.location}).\n"
            "An audit of this same code against them says that nothing has changed, not that it is right."
        )

    def data(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "manifest": str(self.manifest)}


def record(entry: Entry, place: str, *, again: bool = False) -> Made:
    """Record the entry's code into the folder that its method names.

    BadRequest, with nothing written, for an entry without such a folder or without names, or where vectors are there
    already and ``again`` is not set.
    """
    reference = _into(entry, place)
    manifest = reference.folder / MANIFEST
    if manifest.exists() and not again:
        raise BadRequest(
            f"record vectors: got {reference.folder}, which has vectors already; want a new folder. "
            "--again replaces them: what was recorded before is then no reference any more."
        )
    with pinned():
        made = [(probe, *_vector(Trial(entry, reference, probe, CHECK))) for probe in probes(entry)]
    _write(entry, reference, made)
    return Made(manifest, len(made), entry.name, entry.location)


def probes(entry: Entry) -> tuple[Probe, ...]:
    """What is recorded: sizes, scales, biases, batches, option sets; fresh and perturbed; in lower precision, too."""
    t0 = replace(SMALL, state="t0")
    plain = (
        t0,
        replace(WIDE, state="t0"),
        *PLAIN,
        replace(SMALL, training=True),
        *with_options(entry, t0),
        *with_options(entry, SMALL),
    )
    exact = entry.promises.float64 is Float64.EXACT
    low = tuple(replace(WIDE, batch=(64,), dtype=dtype, adapter=None) for dtype in LOW) if exact else ()
    taken = [each for probe in (*plain, *low) if (each := promised(entry.promises, probe)) is not None]
    return tuple({probe.id: probe for probe in taken}.values())


def _into(entry: Entry, place: str) -> Recorded:
    found = entry.method.recorded if entry.method is not None else ()
    if len(found) != 1:
        raise BadRequest(
            f"record vectors: the entry {entry.name!r} at {place!r} has "
            f"{'no' if not found else len(found)} recorded(...) reference{'s' if len(found) > 1 else ''}. Give its "
            "method one: Method(NAME, (recorded(NAME, FOLDER),)). See docs/your-own-code.md."
        )
    layer = torch.nn.Linear(12, 20)
    subject = entry.build(layer, SMALL.settings)
    there = [path.removeprefix("layer.") for path in tensors_of(subject.host, subject.base)]
    missing = [path for path in there if f"layer.{path}" not in {at for at, _ in subject.names.values()}]
    if not subject.names:
        raise BadRequest(
            f"record vectors: got no names for the tensors of {entry.name!r} ({', '.join(missing) or 'none'}), "
            f"want one for each. Say what the formula calls them: names={{'A': '{(missing or ['PATH'])[0]}'}}."
        )
    return found[0]


def _vector(trial: Trial) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of one vector, and the names of those that train."""
    source = trial.subject()
    values = rounded(trial.state(source), source)
    layer = trial.layer()
    numbers = {"W": layer.weight.detach(), "x": trial.x, "cotangent": trial.cotangent}
    if layer.bias is not None:
        numbers["b"] = layer.bias.detach()
    got = run(trial.subject(values=values), trial.x, trial.cotangent)
    numbers |= {f"t.{name}": value for name, value in values.items()} | _answers(got)
    if trial.probe.dtype in LOW and trial.entry.promises.float64 is Float64.EXACT:
        wide = replace(trial, probe=replace(trial.probe, adapter="float64"))
        exact = run(wide.subject(trial.layer("float64"), values=values), trial.x.double(), trial.cotangent.double())
        numbers |= {f"truth.{name}": value for name, value in _answers(exact).items()}
    if trial.probe.state == "t0":
        one, other = (trial.subject(seed=seed).values() for seed in (0, 1))
        numbers |= {f"start.{name}": one[name] for name in source.names if torch.equal(one[name], other[name])}
    return {name: value.detach().contiguous().clone() for name, value in numbers.items()}, sorted(got.grads)


def _answers(got: Run) -> dict[str, Tensor]:
    grads = {"x": got.grad_x, **got.grads}
    return {"y": got.y, **{f"grad.{name}": g for name, g in grads.items() if g is not None}}


def _write(entry: Entry, reference: Recorded, made: Sequence[tuple[Probe, dict[str, Tensor], list[str]]]) -> None:
    folder = reference.folder
    folder.mkdir(parents=True, exist_ok=True)
    source = Path(inspect.getsourcefile(entry.code) or "")
    rows: list[dict[str, Any]] = []
    for probe, tensors, trained in made:
        data, file = save(tensors), f"{probe.id}.safetensors"
        (folder / file).write_bytes(data)
        rows.append(
            {
                "file": file,
                "file_sha256": hashlib.sha256(data).hexdigest(),
                "method": reference.id.partition(":")[2],
                "variant": entry.name,
                "config": {"probe": probe.plain(), "probe_id": probe.id, "trained": trained},
                "dtype": probe.dtype,
                "formula": reference.math,
                "notes": "; ".join(entry.notes),
                "verification": {},
                "source_repo": "",
                "source_commit": "",
                "source_path": entry.location,
                "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest() if source.is_file() else "",
            }
        )
    for old in folder.glob("*.safetensors"):
        if old.name not in {row["file"] for row in rows}:
            old.unlink()
    whole = {"recorded_with": installed(), "files": rows}
    (folder / MANIFEST).write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n", encoding="utf-8")
