"""The line that matters on both sides of a difference: where a tensor is made, filled, used, or the output computed.

A side is built and called once more while every operation is watched (``watched``). Where a runtime of its own makes
the tensors for the audited class, the line that names the tensor is looked up in the class (``named``). What cannot be
found stays empty, and a reader is sent to the class.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from conformance.measuring.named import naming, own_files
from conformance.measuring.trial import SubjectFailed, Trial, asking_the_subject, raised_at, run
from conformance.measuring.watched import Frame, Stack, Watch, key
from conformance.nouns.entry import at, line_at
from conformance.nouns.finding import Finding, Outcome
from refs.lock import LOCK_FILE, package_of, root_of
from refs.reference import ClosedForm, Live, Transcribed
from refs.subject import Subject

MADE = ("params",)
"""Checks about what the tensors are."""
FILLED = ("init", "data_init", "ranks", "several_layers", "shared_inputs", "reconstruction")
"""Checks about where the tensors start."""
CALLED = (
    "influence",
    "gradients",
    "low_precision",
    "forward",
    "masks",
    "trajectory",
    "space",
    "steering",
    "contraction",
    "orthogonality",
    "chirality",
    "pairing",
    "recorded",
)
"""Checks about what is computed."""
ALL_TENSORS = "names of the tensors"
ROOM = 256


@dataclass(frozen=True)
class Lines:
    """The lines of one side: by tensor name, and of the output. ``names``: the tensors that it has."""

    made: dict[str, str]
    filled: dict[str, str]
    used: dict[str, str]
    output: str
    names: frozenset[str]

    def of(self, check: str, tensor: str) -> str:
        """The line that a difference of this tensor (none: of the output) in this check is about; empty if unknown."""
        if check in MADE:
            return self.made.get(tensor, "")
        if check in FILLED:
            return self.filled.get(tensor, "") if tensor else self.output
        return self.used.get(tensor, "") or self.output


KNOWN: dict[Any, Lines | None] = {}
"""What was found already, by how a side is built and called."""


def placed(trial: Trial, finding: Finding) -> Finding:
    """The finding with the lines of both sides; nothing is added to an agreement."""
    if finding.outcome is not Outcome.DIFFER:
        return finding
    if finding.raised:
        return replace(finding, subject_at=_raised_at(trial))
    if trial.check not in (*MADE, *FILLED, *CALLED):
        return finding
    mine, other = (
        _known(trial, side, ask) for side, ask in (("", subject_lines), (trial.reference.id, reference_lines))
    )
    known = (mine.names if mine else frozenset()) | (other.names if other else frozenset())
    first, second = (_tensor(finding.what, known, side, rest) for side, rest in ((mine, other), (other, mine)))
    theirs = _of_formula(trial, first) if isinstance(trial.reference, ClosedForm) else ""
    return replace(
        finding,
        subject_at=mine.of(trial.check, first) if mine else "",
        reference_at=theirs or (other.of(trial.check, second) if other else ""),
    )


def subject_lines(trial: Trial) -> Lines:
    """Of the audited side."""
    code = trial.entry.code
    return _watched(lambda: trial.subject(), trial.x, own_files(code), code)


def reference_lines(trial: Trial) -> Lines | None:
    """Of a reference that is a layer; None of others."""
    reference = trial.reference
    if isinstance(reference, Live):
        files = tuple(str(file) for o in reference.objects if (file := _file_of(o)) is not None)
        return _watched(trial.reference_subject, trial.x, files, None)
    if isinstance(reference, Transcribed):
        own = LOCK_FILE.parent / reference.module
        beside = (str(file) for file in sorted(own.parent.glob("*.py")) if file != own)
        return _watched(trial.reference_subject, trial.x, (str(own), *own_files(reference.build), *beside), None)
    return None


def _known(trial: Trial, side: str, ask: Callable[[Trial], Lines | None]) -> Lines | None:
    """Asked once for all cases that build and call this side alike.

    None where a side cannot be built or called plainly: the case has shown that already, or has other means.
    """
    probe = trial.probe
    how = (probe.options, probe.dtype, probe.adapter, probe.training, probe.special, probe.r > 1, len(probe.batch))
    alike = (trial.entry.build, trial.entry.code, side, how)
    if alike not in KNOWN:
        if len(KNOWN) >= ROOM:
            KNOWN.clear()
        try:
            KNOWN[alike] = ask(trial)
        except Exception:
            KNOWN[alike] = None
    return KNOWN[alike]


def _watched(build: Callable[[], Subject], x: Tensor, files: tuple[str, ...], code: Any) -> Lines:
    """``code``: the audited class; None for a reference, of which every tensor is made in files of its own."""
    with Watch() as watch:
        side = build()
        stored = {name: key(tensor) for name, tensor in side.stored().items()}
        made = {name: (watch.born if code is None else watch.created).get(k, ()) for name, k in stored.items()}
        filled = {name: watch.filled.get(k, ()) for name, k in stored.items()}
        watch.used.clear()
        before = len(watch.stacks)
        y = side(x)
        output = watch.filled.get(key(y), ())
        own = [stack for stack in watch.stacks[before:] if any(frame.file in files for frame in stack)]

    def words(stack: Stack, name: str = "") -> str:
        return _line(stack, files, code, _parts(side, name))

    used = {name: words(watch.used[k]) for name, k in stored.items() if k in watch.used}
    last = own[-1] if own and not any(frame.file in files for frame in output) else output
    return Lines(
        {name: words(stack, name) for name, stack in made.items()},
        {name: words(stack, name) for name, stack in filled.items()},
        {name: line for name, line in used.items() if line},
        words(last),
        frozenset(stored),
    )


def _parts(side: Subject, name: str) -> tuple[str, ...]:
    """What a tensor may be called in the source: the parts of its path, the last first."""
    path = side.names[name][0] if name in side.names else name
    return tuple(reversed(path.split("."))) if name else ()


def _line(stack: Stack, files: tuple[str, ...], code: Any, parts: tuple[str, ...]) -> str:
    """The innermost frame in the code's own file; else the line that names the tensor; else any frame of its own."""
    for frame in stack:
        if files and frame.file == files[0]:
            return _told(frame)
    for part in parts if code is not None else ():
        found = naming(code, part)
        if found is not None:
            return line_at(Path(found[0]), found[1])
    own = (frame for frame in stack if frame.file in files)
    foreign = (frame for frame in stack if not _harness(frame.file))
    return next((_told(frame) for each in (own, foreign) for frame in each), "")


def _told(frame: Frame) -> str:
    return line_at(Path(frame.file), frame.line, frame.function)


def _harness(file: str) -> bool:
    root = LOCK_FILE.parents[1]
    return any(Path(file).is_relative_to(root / name) for name in ("conformance", "refs", "subjects", "tests", "proof"))


def _file_of(object_id: str) -> Path | None:
    root = root_of(package_of(object_id))
    return None if root is None else root.parent / object_id.partition("::")[0]


def _of_formula(trial: Trial, tensor: str) -> str:
    """The function of the closed form that answers the check."""
    form = trial.reference
    assert isinstance(form, ClosedForm)
    asked = form.start or form.draw if trial.check in (*MADE, *FILLED) else form.pullback if tensor else form.effective
    return at(inspect.unwrap(asked or form.effective))


def _tensor(what: str, known: frozenset[str], side: Lines | None, other: Lines | None) -> str:
    """The tensor that a difference is about; empty if it is about none."""
    if what.startswith(ALL_TENSORS) and side is not None and other is not None:
        return min(side.names - other.names, default="")
    words = re.findall(r"[\w.]+", what)
    return next((word for word in words if word in known and word != "x"), "")


def _raised_at(trial: Trial) -> str:
    """The line at which the audited side raises when it is built, called and called back through."""
    try:
        subject = trial.subject()
        with asking_the_subject():
            run(subject, trial.x, trial.cotangent)
    except SubjectFailed as failure:
        return raised_at(failure.__cause__)[0]
    except Exception:
        return ""  # it raised under other circumstances, or the numbers of this case are no plain ones
    return ""
