"""Put one mutant before the harness: its files are loaded with the mistake in them, and judged as any entry is."""

from __future__ import annotations

import importlib.util
import json
import signal
import sys
import types
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path

from conformance.nouns.entry import ROOT, Entry
from conformance.planning.plan import Planned
from proof.ask import QUICK_CHECKS, Asked, cases_of, sample_of
from proof.mutation.known import EQUIVALENT, GAP, KNOWN, NOT_ASKED, Key
from proof.mutation.mutants import SHARED, Mutant
from subjects.own.entry import entry_for
from subjects.own.roster import ENTRIES

KEY = ("file", "function", "operator", "before", "after")
LAST = "execution_modes"
"""The one slow check that sees other lines than the quick ones do: those that only a compiler takes."""
SECONDS = 300
"""No case of the plan takes a second; a mutant that takes this long in all hangs."""
KILLED, TIMED_OUT, SURVIVED = "killed", "timed out", "survived"
EQUAL, LEFT_OUT, BROKEN = EQUIVALENT, NOT_ASKED, "does not load"
LIVING = {EQUIVALENT: EQUAL, NOT_ASKED: LEFT_OUT, GAP: SURVIVED}


@dataclass(frozen=True)
class Tried:
    """What became of one mutant. ``killer``: the case that killed it; ``reason``: why it lives or does not load."""

    file: str
    line: int
    function: str
    operator: str
    before: str
    after: str
    status: str
    killer: str = ""
    reason: str = ""


def try_mutant(mutant: Mutant, *, again: bool = False) -> Tried:
    """Before the variants that its file makes, until one is called BUGGY.

    The case that killed it in the committed report is asked first. One that is known to live is taken at its word, or
    with ``again`` tried like the others: it costs every case of the plan, where the others cost a few.
    """
    kind, reason = KNOWN.get(mutant.key, ("", ""))
    if kind and not again:
        return Tried(*mutant.key[:1], mutant.line, *mutant.key[1:], LIVING[kind], reason=reason)
    found = dict.fromkeys(("killer", "reason"), "")
    hint = "" if again else last_killers().get(mutant.key, "")
    try:
        with _alarm(SECONDS), loaded(mutant.file, mutant) as classes:
            entries = [entry_of(name, classes) for name in mutant.entries]
            found["killer"] = (hint and killed_by(entries, hint)) or first_kill(entries)
            status = KILLED if found["killer"] else SURVIVED
    except _Hangs:
        status = TIMED_OUT
    except _DoesNotLoad as error:
        status, found["reason"] = BROKEN, str(error)
    if status == SURVIVED and kind:
        status, found["reason"] = LIVING[kind], reason
    return Tried(*mutant.key[:1], mutant.line, *mutant.key[1:], status, **found)


class _Hangs(BaseException):
    """The time is up. No ``Exception``: the harness takes those for answers of the subject and goes on."""


class _DoesNotLoad(Exception):
    """The file with the mistake in it cannot even be imported: no harness is needed to see that."""


@contextmanager
def loaded(file: str, mutant: Mutant | None) -> Iterator[dict[str, type]]:
    """The classes of the variants that a file makes, by name, while the mutated modules stand for the real ones.

    Modules that are built on it are loaded anew upon it. Everything is as before when the block ends.
    """
    first = _module_name(file)
    dependents = [_module_name(f"variants/{name}.py") for name in SHARED.get(file, ()) if f"variants/{name}.py" != file]
    saved = {name: sys.modules[name] for name in (first, *dependents)}
    try:
        try:
            _execute(first, None if mutant is None else compile(mutant.tree(), str(ROOT / file), "exec"))
            for name in dependents:
                _execute(name, None)
        except Exception as error:
            raise _DoesNotLoad(f"{type(error).__name__}: {error}") from error
        names = SHARED.get(file, (Path(file).stem,))
        yield {name: _class(name) for name in names}
    finally:
        sys.modules.update(saved)


def entry_of(name: str, classes: dict[str, type]) -> Entry:
    """The audited entry of this name with another class in it."""
    like = next(entry for entry in ENTRIES if entry.name == name)
    return entry_for(classes[name], like=like)


@cache
def last_killers() -> dict[Key, str]:
    """Mutant -> the case that killed it, from the committed report: where to look first, and no more than that."""
    try:
        rows = json.loads((ROOT / "reports" / "proof.json").read_text(encoding="utf-8"))["mutants"]
        return {(*(row[name] for name in KEY),): row["killer"] for row in rows if row.get("killer")}
    except (OSError, ValueError, KeyError):
        return {}


def killed_by(entries: Sequence[Entry], case: str) -> str:
    """The case, if it kills one of the entries together with the closed form under the same configuration."""
    name, _, rest = case.partition("/")
    for entry in entries:
        if entry.name == name:
            asked = Asked(entry)
            check, probe = rest.split("/", 2)[1:] if rest.count("/") >= 2 else ("", "")
            same = [p for p in cases_of(entry, {check}) if p.probe.id == probe] if check else []
            return _killer(asked, [same])
    return ""


def first_kill(entries: Sequence[Entry], every: int = 1) -> str:
    """The id of the first case with which the judge calls one of the entries BUGGY; empty if there is none.

    The cases go round by round, one probe of each check of each entry, so that no check's many probes come before the
    others' first; the slow check comes last of all. ``every``: for a sample, one of so many probes of each check.
    """
    waiting = deque(_rounds(entry, every) for entry in entries)
    while waiting:
        rounds = waiting.popleft()
        killer = next(rounds, None)
        if killer:
            return killer
        if killer is not None:
            waiting.append(rounds)
    return ""


def _rounds(entry: Entry, every: int) -> Iterator[str]:
    """After each round the case that killed the entry in it, or nothing.

    The closed form comes before the references it may witness against.
    """
    asked = Asked(entry)
    checks: dict[str, dict[str, list[Planned]]] = {}
    for planned in sample_of(entry, every, checks=(*QUICK_CHECKS, LAST)):
        checks.setdefault(planned.check.name, {}).setdefault(planned.probe.id, []).append(planned)
    late = checks.pop(LAST, {}).values()
    for probes in zip_longest(*(probes.values() for probes in checks.values()), fillvalue=()):
        yield _killer(asked, probes)
    yield _killer(asked, late)


def _killer(asked: Asked, probes: Iterable[Sequence[Planned]]) -> str:
    return next((planned.case.id for probe in probes for planned in probe if asked.kills(planned)), "")


def _class(name: str) -> type:
    module = sys.modules[_module_name(f"variants/{name}.py")]
    return next(
        thing for thing in vars(module).values() if getattr(thing, "name", None) == name and hasattr(thing, "specs")
    )


def _execute(name: str, code: types.CodeType | None) -> None:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if code is None:
        spec.loader.exec_module(module)
    else:
        exec(code, module.__dict__)


def _module_name(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")


@contextmanager
def _alarm(seconds: int) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise _Hangs

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
