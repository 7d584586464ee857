"""Mutants of the runtime: what all variants are attached, calibrated, merged, saved and exported by.

The audit asks variants, and tests ask the runtime: a mutant goes before both. The modules of the runtime import each
other, so each mutant gets a process of its own, in which the import of one file gives the mutated code.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import json
import os
import random
import select
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from conformance.nouns.entry import ROOT
from proof.mutation.guards import GUARDS, Guard
from proof.mutation.known import EQUIVALENT, GAP, KNOWN, NOT_ASKED
from proof.mutation.mutants import Mutant, mutants_of
from proof.pool import each

PER_FILE = 4
"""How many mutants of each file are tried: drawn once, the same in every run. There are over a thousand."""
WITHOUT_ORDER = "loop reversed"
"""The one operator that is left out: the runtime's loops go over layers and tensors that do not touch each other."""
SECONDS = 240
ROOMS = ("variants", "subjects", "refs", "conformance", "proof", "tests")
"""Packages that a mutant's process imports anew."""


@dataclass(frozen=True)
class Job:
    """A mutant of the runtime, and whether what is known of it is tried again."""

    mutant: Mutant
    again: bool = False


@dataclass(frozen=True)
class TriedInRuntime:
    """What became of a mutant of the runtime. ``killer``: a test or a case; ``reason``: why it lives."""

    file: str
    line: int
    function: str
    operator: str
    before: str
    after: str
    status: str
    killer: str = ""
    reason: str = ""


def run(workers: int, chosen: Sequence[Mutant] | None = None, *, again: bool = False) -> list[TriedInRuntime]:
    """The sample, or those chosen, tried."""
    return each(try_runtime, [Job(m, again) for m in (sample() if chosen is None else chosen)], workers)


def sample(per_file: int = PER_FILE) -> list[Mutant]:
    """So many of each file, the same in every run for the same code."""
    drawn = []
    for guard in GUARDS:
        everyone = [m for m in mutants_of(guard.file) if m.operator != WITHOUT_ORDER]
        picked = random.Random(guard.file).sample(range(len(everyone)), min(per_file, len(everyone)))
        drawn += [everyone[i] for i in sorted(picked)]
    return drawn


def try_runtime(job: Job) -> TriedInRuntime:
    """Before the tests of its file, then before the audit of some variants, until one of them tells it."""
    m = job.mutant
    kind, reason = KNOWN.get(m.key, ("", ""))
    living = {EQUIVALENT: "equivalent", NOT_ASKED: "not asked", GAP: "survived"}
    row = TriedInRuntime(*m.key[:1], m.line, *m.key[1:], status=living.get(kind, ""), reason=reason)
    if kind and not job.again:
        return row
    _import_what_is_heavy()
    told = _in_a_fork(next(g for g in GUARDS if g.file == m.file), m)
    if told is None:
        return replace(row, status="timed out", reason="")
    if told["killer"]:
        return replace(row, status="killed", killer=told["killer"], reason="")
    return replace(row, status=row.status or "survived")


def _import_what_is_heavy() -> None:
    """Once for a process, before it forks: what does not depend on the code that is mutated."""
    for name in ("torch", "peft", "transformers", "safetensors.torch", "hypothesis", "pytest", "bitsandbytes"):
        if importlib.util.find_spec(name.partition(".")[0]) is not None:
            importlib.import_module(name)


def control(file: str) -> str:
    """What tells the file without a mistake in it: must be nothing."""
    _import_what_is_heavy()
    told = _in_a_fork(next(g for g in GUARDS if g.file == file), None)
    return "hangs" if told is None else told["killer"]


def _in_a_fork(guard: Guard, mutant: Mutant | None) -> dict[str, str] | None:
    """What the child says; None if it hangs."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        os.setpgid(0, 0)
        try:
            told = {"killer": _killer(guard, mutant)}
        except BaseException as error:  # the mutated code cannot even be imported
            told = {"killer": f"{type(error).__name__} before any test"}
        os.write(writer, json.dumps(told).encode())
        os._exit(0)
    os.close(writer)
    there = select.select([reader], [], [], SECONDS)[0]
    text = os.read(reader, 1 << 16) if there else b""
    os.close(reader)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if there and not text:
        return {"killer": "the process dies"}
    return json.loads(text) if there else None


def _killer(guard: Guard, mutant: Mutant | None) -> str:
    """The first test that fails, or the first case by which a variant is called wrong; empty if all goes well."""
    silent = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silent, stream)
    for name in [name for name in sys.modules if name.partition(".")[0] in ROOMS and name != __name__]:
        del sys.modules[name]
    if mutant is not None:
        _mutate(mutant)
    return next(_by_tests(guard.tests), "") or next(_by_cases(guard), "")


def _mutate(mutant: Mutant) -> None:
    """From here on the import of its file gives the code with the mistake in it."""
    name = mutant.file.removesuffix(".py").replace("/", ".")
    code = compile(mutant.tree(), str(ROOT / mutant.file), "exec")
    real = importlib.machinery.SourceFileLoader.get_code

    def get_code(self: Any, fullname: str) -> Any:
        return code if fullname == name else real(self, fullname)

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[method-assign]


def _by_tests(files: Sequence[str]) -> Iterator[str]:
    import pytest

    failed: list[str] = []

    class Watch:
        def pytest_runtest_logreport(self, report: Any) -> None:
            if report.failed:
                failed.append(report.nodeid)

        def pytest_collectreport(self, report: Any) -> None:
            if report.failed:
                failed.append(report.nodeid)

    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow", "-o", "addopts="]
    code = pytest.main([*options, "--rootdir", str(ROOT), *(str(ROOT / file) for file in files)], plugins=[Watch()])
    if code != 0:
        yield failed[0] if failed else f"pytest ends with {int(code)}"


def _by_cases(guard: Guard) -> Iterator[str]:
    ask = importlib.import_module("proof.ask")
    entries = importlib.import_module("subjects.own.roster").ENTRIES
    for entry in entries:
        if entry.name in guard.variants:
            asked = ask.Asked(entry)
            for planned in ask.cases_of(entry, guard.checks):
                if asked.kills(planned):
                    yield planned.case.id
