"""The command line: list the emulated machines, or run the audit on some of them, one after the other."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from machines import audit, copies, kept, table
from machines.audit import AUDIT, TESTS, WITNESSES, Result, Tree
from machines.registry import EXCEPTIONS, MACHINES, choose

ROOT = Path(__file__).resolve().parents[1]
PAGE = Path("reports") / "machines.md"


def main(arguments: Sequence[str] | None = None, *, root: Path = ROOT, command: Sequence[str] = ()) -> int:
    """Exit status: 0 the same bytes wherever it ran, 1 a difference or a failure, 2 no such request, 130 interrupted.

    ``root``: the checkout to audit. ``command``: what is run in a copy instead of the audit or the tests.
    """
    options = _parser().parse_args(arguments)
    try:
        chosen = choose(options.machines, short=options.short)
        if options.list:
            for machine in chosen:
                print(f"{machine.name:20} {machine.emulates}")
            return 0
        tree = Tree.at(root, options.at)
        if options.at == "HEAD" and (count := copies.uncommitted(root)):
            print(f"{count} uncommitted changes are in no copy: HEAD is audited", file=sys.stderr)
        results: list[Result] = []
        rows: list[Result] = []
        known = (*MACHINES, *(machine for machine in chosen if machine not in MACHINES))
        where = _where()
        what = command or (TESTS if options.tests else AUDIT)
        for machine in chosen:
            start = time.perf_counter()
            out = root / options.out / "machines"
            result = audit.run(
                machine, tree, out, allowed=EXCEPTIONS, audit=what, tests=options.tests, limit=options.limit
            )
            print(f"{machine.name:20} {result}   [{time.perf_counter() - start:.0f} s]", flush=True)
            results.append(result)
            run = {"commit": tree.commit, "computer": where, "command": " ".join(what[1:])}
            rows = kept.merged(out / "results.json", [result], known, **run)
    except (ValueError, OSError) as error:
        print(f"machines: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "machines: interrupted; no table was written, but the rows that ended are kept",
            file=sys.stderr,
        )
        return 130
    text = table.render(rows, where=where, commit=tree.commit, machines=MACHINES)
    path = root / options.out / "machines.md"
    for target in (path, root / PAGE) if options.record else (path,):
        target.write_text(text, encoding="utf-8", newline="\n")
    for name in table.needless(results, EXCEPTIONS):
        print(f"the exception for {name} is not needed here: it rendered the same bytes", file=sys.stderr)
    print(f"{table.summary(results)} Table: {path}")
    return table.status(results)


def end_on_signals() -> None:
    """A signal that ends this process ends the audit first: it has a process group of its own and would run on."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)  # a shell that starts this in the background has it ignored


def _interrupt(*signal_and_frame: object) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m machines",
        description="Run the audit on emulated machines, each in a clone of its own; reports/ must not change.",
    )
    parser.add_argument(
        "machines", nargs="*", metavar="MACHINE", help="all if none is named; a+b emulates a and b at once"
    )
    parser.add_argument("--list", action="store_true", help="name the machines and what they emulate")
    parser.add_argument(
        "--short", action="store_true", help="only what has ever told something apart, two machines emulated at a time"
    )
    parser.add_argument("--tests", action="store_true", help="run the tests that compare floats instead of the audit")
    parser.add_argument("--record", action="store_true", help=f"write the table to {PAGE.as_posix()}, too")
    parser.add_argument("--limit", type=float, default=1800.0, metavar="SECONDS", help="of one machine (default 1800)")
    parser.add_argument("--at", metavar="REV", default="HEAD", help="git revision to audit (default HEAD)")
    parser.add_argument(
        "--out", type=Path, default=Path(".conformance"), help="where table, logs and diffs go (default .conformance)"
    )
    return parser


def _where() -> str:
    """The computer, in one line."""
    asked = [sys.executable, "-P", str(WITNESSES), "environment"]
    return subprocess.run(asked, capture_output=True, encoding="utf-8", check=True).stdout.strip()
