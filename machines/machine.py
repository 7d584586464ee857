"""What an emulated machine is, and the place in which one run of it happens."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


class CannotRun(Exception):
    """The computer cannot stand for the machine; the text says why."""


@dataclass
class Place:
    """Where one machine's audit runs. A preparation may change it before anything is started.

    ``scratch``: a folder of this run alone. ``checkout``: the copy of the tree. ``prefix``: command line that starts
    the machine's processes. ``note``: how the machine came about here, if there is more than one way.
    """

    scratch: Path
    checkout: Path
    environment: dict[str, str]
    prefix: tuple[str, ...] = ()
    note: str = ""


Preparation = Callable[[Place], None]
"""Changes a place after the copy has been made. CannotRun: this computer lacks what it takes."""


@dataclass(frozen=True)
class Machine:
    """One row of the table.

    ``environment``: variables of every process. ``hook``: a file of ``machines/hooks`` that every Python process runs
    at its start. ``arguments``: more words for ``conformance run``. ``prepare``: what must be done to the place.
    ``checkout``: name of the copy's folder. ``shallow``: the copy has one commit. ``witness``: a name of
    ``machines/witnesses.py``; it must print ``want`` inside the machine before the audit starts, or the machine is not
    what it says. ``parts``: the machines that this one emulates at once, of ``together``; each keeps its own witness.
    """

    name: str
    emulates: str
    environment: Mapping[str, str] = field(default_factory=dict)
    hook: str = ""
    arguments: tuple[str, ...] = ()
    prepare: Preparation | None = None
    checkout: str = "checkout"
    shallow: bool = False
    witness: str = ""
    want: str = ""
    parts: tuple[Machine, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+([-+][a-z0-9]+)*", self.name):
            raise ValueError(f"Machine.name: got {self.name!r}, want lower-case words joined by '-' or '+'.")
        if not self.emulates:
            raise ValueError(f"Machine.emulates of {self.name}: got nothing, want what is emulated.")
        if bool(self.witness) != bool(self.want):
            raise ValueError(f"Machine {self.name}: got one of witness and want, want both or neither.")

    @property
    def witnesses(self) -> tuple[tuple[str, str], ...]:
        """Each witness with what it must print."""
        own = ((self.witness, self.want),) if self.witness else ()
        return own + tuple(pair for part in self.parts for pair in part.witnesses)


def together(*machines: Machine) -> Machine:
    """One machine that emulates several at once, so that one audit asks all of them.

    ValueError if two of them set one variable to different values, or if two need a place of their own.
    """
    environment: dict[str, str] = {}
    placed = [m for m in machines if m.prepare or m.shallow or m.arguments or m.checkout != "checkout"]
    if len(placed) > 1:
        names = " and ".join(machine.name for machine in placed)
        raise ValueError(
            f"together: got {names}, each of which needs a place of its own; run them as rows of their own."
        )
    place = placed[0] if placed else Machine("as-it-is", "nothing")
    for machine in machines:
        for key, value in machine.environment.items():
            if environment.setdefault(key, value) != value:
                raise ValueError(f"together: {machine.name} sets {key} to {value!r}, another to {environment[key]!r}.")
    return Machine(
        "+".join(machine.name for machine in machines),
        "; ".join(machine.emulates for machine in machines),
        environment,
        hook=",".join(machine.hook for machine in machines if machine.hook),
        arguments=place.arguments,
        prepare=place.prepare,
        checkout=place.checkout,
        shallow=place.shallow,
        parts=machines,
    )


@dataclass(frozen=True)
class Allowed:
    """An exception: on ``machine`` these ``files`` of reports/ may have other bytes, for a ``cause`` that was found."""

    machine: str
    files: tuple[str, ...]
    cause: str

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError(f"Allowed.files for {self.machine}: got none, want the files that may differ.")
        if len(self.cause.split()) < 5:
            raise ValueError(
                f"Allowed.cause for {self.machine}: got {self.cause!r}, want a sentence: which case differs, and why "
                "that is no property of the code under audit."
            )
