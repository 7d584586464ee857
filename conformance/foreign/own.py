"""References of somebody else's own: a formula alone, or a layer with a lock file beside the entry."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from conformance.foreign.entry import Name, Put, built
from conformance.nouns.entry import Entry
from conformance.nouns.probe import Probe
from conformance.planning.names import BadRequest
from refs.foreign.recorded import part, vectors_of
from refs.golden_vectors import GoldenError
from refs.lock import locate, package_of, root_of
from refs.locking import own_lock
from refs.reference import Live, Method, Options
from refs.settings import Settings
from refs.subject import AS_IS, Slot, Subject


def live(
    name: str,
    put: Put,
    names: Mapping[str, Name],
    code: Any,
    math: str,
    *,
    lock: Path | str | None = None,
    options: Options = (),
    checks: Sequence[str] = (),
) -> Live:
    """A layer that somebody else wrote, as the reference of a method of one's own: ``PACKAGE:NAME``.

    ``put(layer, settings)`` puts it on a layer, as in ``conformance.entry``. ``names``: each tensor of the formula,
    below the module. ``code``: the class or function that it is, or several, the main one first: the lock holds their
    sources, and what they are seen to run in their package. ``lock``: that file; by default ``put``'s own with
    ``.lock.json`` at its end. ``conformance record lock`` writes it. BadRequest for code whose source cannot be found.
    """
    things = tuple(code) if isinstance(code, Sequence) else (code,)
    objects = tuple(object_of(thing) for thing in things)
    given = {n: where if isinstance(where, tuple) else (where, AS_IS) for n, where in names.items()}
    beside = Path(lock) if lock is not None else Path(inspect.getsourcefile(put) or "").with_suffix(".lock.json")

    def build(layer: nn.Linear, settings: Settings) -> Subject:
        return built(layer, settings, put, given, replaced=False)

    package = package_of(objects[0])
    return Live(
        f"{package}:{name}", build, objects, math, package, options=options, checks=tuple(checks), lock=beside.resolve()
    )


def object_of(thing: Any) -> str:
    """``package/file.py::Qualified.name`` of a class or function. BadRequest where no file has it under that name."""
    want = "want a class or function at the top of a file of a package or module that can be imported"
    try:
        file = Path(inspect.getsourcefile(thing) or "")
    except TypeError:
        raise BadRequest(f"live: got {thing!r} as code, {want}. Name the class that does the work.") from None
    root = root_of(thing.__module__.partition(".")[0])
    found = ""
    if root is not None and file.resolve().is_relative_to(root.parent.resolve()):
        found = f"{file.resolve().relative_to(root.parent.resolve()).as_posix()}::{thing.__qualname__}"
    if not found or locate(found) is None:
        raise BadRequest(f"live: got {thing.__qualname__} of {file or thing.__module__}, {want}. Move it there.")
    return found


def tensors_of_recorded(method: Method) -> dict[str, Slot]:
    """The tensors of a method of which there are recorded numbers alone; nothing before they are recorded."""
    try:
        found = {n: v for reference in method.recorded for n, v in vectors_of(reference).items()}
    except GoldenError:
        return {}
    for vector in found.values():
        probe = Probe.of(vector.config["probe"])
        if (probe.state, probe.d_in, probe.d_out, probe.r, probe.options) == ("t0", 12, 20, 4, ()):
            trained = vector.config["trained"]
            return {n: Slot(v, None, n in trained, "parameter") for n, v in part(vector.tensors, "t.").items()}
    return {}


@dataclass(frozen=True)
class Locked:
    """A lock file that was written: how many sources it holds, and of which versions of which packages."""

    file: Path
    sources: int
    packages: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        packages = ", ".join(f"{name} {version}".strip() for name, version in self.packages)
        return f"{self.file}: {self.sources} sources of {packages}"

    def data(self) -> dict[str, Any]:
        """Plain data."""
        return {"file": str(self.file), "sources": self.sources, "packages": dict(self.packages)}


def write_locks(entries: Sequence[Entry], place: str) -> list[Locked]:
    """Write the lock file of every live reference of the entries' own, anew.

    BadRequest, with nothing written, if there is none.
    """
    files: dict[Path, dict[str, Live]] = {}
    for entry in entries:
        for reference in entry.method.references if entry.method is not None else ():
            if isinstance(reference, Live) and reference.lock is not None:
                files.setdefault(reference.lock, {})[reference.id] = reference
    if not files:
        raise BadRequest(
            f"record lock: got no live reference of its own at {place!r}, want one made by conformance.live(...). "
            "References of this suite are in refs/lock.json, which `python -m refs.lock` writes."
        )
    locks = {file: own_lock(tuple(references.values())) for file, references in files.items()}
    for file, lock in locks.items():
        file.write_text(json.dumps(lock, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return [
        Locked(file, len(lock["objects"]), tuple((name, of["version"]) for name, of in lock["packages"].items()))
        for file, lock in locks.items()
    ]


def tensors_of_closed(method: Method) -> dict[str, Slot]:
    """The tensors of a method that has a closed form alone, where that gives their start on a layer 12 -> 20."""
    form = method.closed
    if form is None or (form.start is None and form.draw is None):
        return {}
    torch.default_generator.manual_seed(0)
    W = torch.nn.Linear(12, 20).weight.detach().double().numpy()
    settings = Settings(r=4, alpha=6.0, options=form.options)
    if form.draw is not None:
        started = form.draw(np.random.default_rng(0), W, settings)
    else:
        assert form.start is not None
        started = form.start(W, settings)
    return {
        name: Slot(torch.from_numpy(np.ascontiguousarray(value)), None, name not in form.frozen, "parameter")
        for name, value in started.items()
    }
