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
    what it says.
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

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.name):
            raise ValueError(f"Machine.name: got {self.name!r}, want lower-case words joined by '-'.")
        if not self.emulates:
            raise ValueError(f"Machine.emulates of {self.name}: got nothing, want what is emulated.")
        if bool(self.witness) != bool(self.want):
            raise ValueError(f"Machine {self.name}: got one of witness and want, want both or neither.")


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
