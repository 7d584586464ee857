"""``python -m proof``: run every part, write ``reports/proof.md`` and ``.json``; 1 if anything speaks against it.

What is done is kept in ``.conformance/proof``, under a digest of the code that it depends on: a run that was stopped,
or that had only some ``--seconds``, goes on where it was (status 3: not finished). The mutants come
last and take longest; the report is written from those that were tried, and says how many were not.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conformance.nouns.entry import ROOT
from proof import alarms, matrix, replay, report, sensitivity
from proof.corrupted import run as corrupted
from proof.mutation import run as mutation
from proof.mutation import runtime
from proof.pool import OutOfTimeError, keeping

KEPT = ROOT / ".conformance" / "proof"
UNFINISHED = 3
CODE = (".py", ".json", ".txt", ".npz", ".toml")
HARNESS = ("conformance", "refs", "subjects", "variants", "proof/ask.py")
EXHIBITS = (*HARNESS, "proof/seeded")
MUTATED = (*HARNESS, "proof/mutation")
TESTED = (*MUTATED, "tests/runtime", "tests/variants", "tests/exchange")


def main() -> int:
    """The exit status."""
    options = _parser().parse_args()
    say, n = _timed(options.seconds), options.workers
    try:
        killed = say("kill matrix", EXHIBITS, lambda: matrix.run(n))
        spared = say("false alarms", EXHIBITS, lambda: alarms.run(n))
        replayed = say("replay", (*EXHIBITS, "proof/replay.py"), lambda: replay.run(n))
        turned = say("corrupted peft", (*HARNESS, "proof/corrupted"), lambda: corrupted.run(n))
        seen = say("sensitivity", (*HARNESS, "proof/sensitivity.py"), lambda: sensitivity.run(n))
        controls = say("controls", MUTATED, lambda: mutation.controls(n))
    except OutOfTimeError as error:
        print(f"Not finished: {error}. Run it again to go on.", flush=True)
        return UNFINISHED
    mutants, left = _so_far(lambda: say("mutants", MUTATED, lambda: mutation.run(n, again=options.thorough)))
    in_runtime, untried = _so_far(
        lambda: say("mutants of the runtime", TESTED, lambda: runtime.run(n, again=options.thorough))
    )
    parts = [
        report.seeded_part(killed),
        report.alarms_part(spared),
        report.mutation_part(mutants, controls, left),
        report.runtime_part(in_runtime, untried),
        report.sensitivity_part(seen),
        report.replay_part(replayed),
        report.corrupted_part(turned),
    ]
    folder: Path = options.out
    folder.mkdir(parents=True, exist_ok=True)
    found = {
        "sensitivity": seen,
        "mutants": mutants,
        "runtime_mutants": in_runtime,
        "replayed": replayed,
        "corrupted": turned,
    }
    for name, text in report.render(parts, killed, spared, **found).items():
        (folder / name).write_text(text, encoding="utf-8")
    for part in parts:
        print(f"{part.title}: {part.result}")
        for problem in part.problems:
            print(f"  {problem}", file=sys.stderr)
    print(f"Report: {folder / report.MARKDOWN}")
    if left or untried:
        print(f"Not finished: {left} mutants and {untried} of the runtime are not tried. Run it again to go on.")
        return UNFINISHED
    return 1 if any(part.problems for part in parts) else 0


def _so_far(run: Callable[[], list[Any]]) -> tuple[list[Any], int]:
    """What a part found, and how many of its jobs there was no time for."""
    try:
        return run(), 0
    except OutOfTimeError as error:
        return error.answers, error.left


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m proof", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, default=2, help="processes to spread the cases over (2)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin nothing new after so many seconds")
    parser.add_argument("--thorough", action="store_true", help="try the mutants that are known to live, too; no hints")
    parser.add_argument("--out", type=Path, default=ROOT / "reports", help="folder to write to (reports)")
    return parser


def _timed(seconds: float) -> Callable[[str, tuple[str, ...], Callable[[], Any]], Any]:
    """Runs a part and says how long it took; on the terminal only, since times differ from run to run."""
    begun = time.monotonic()

    def say(name: str, rooms: tuple[str, ...], run: Callable[[], Any]) -> Any:
        start = time.monotonic()
        try:
            with keeping(KEPT / digest(rooms), seconds - (start - begun)):
                return run()
        finally:
            print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)

    return say


def digest(rooms: tuple[str, ...]) -> str:
    """Of every file of code or data in these files and folders, and of the pins."""
    found = hashlib.sha256()
    for place in ("pyproject.toml", *rooms):
        path = ROOT / place
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.suffix in CODE and file.is_file():
                found.update(f"{file.relative_to(ROOT)}\n".encode() + file.read_bytes())
    return found.hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
