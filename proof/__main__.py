"""``python -m proof``: run every part, write ``reports/proof.md`` and ``.json``; 1 if anything speaks against it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conformance.nouns.entry import ROOT
from proof import alarms, matrix, replay, report
from proof.corrupted import run as corrupted
from proof.mutation import run as mutation


def main() -> int:
    """The exit status."""
    options = _parser().parse_args()
    say = _timed()
    killed = say("kill matrix", lambda: matrix.run(options.workers))
    spared = say("false alarms", lambda: alarms.run(options.workers))
    controls = say("controls", lambda: mutation.controls(options.workers))
    mutants = say("mutants", lambda: mutation.run(options.workers, again=options.thorough))
    replayed = say("replay", lambda: replay.run(options.workers))
    turned = say("corrupted peft", lambda: corrupted.run(options.workers))
    parts = [
        report.seeded_part(killed),
        report.alarms_part(spared),
        report.mutation_part(mutants, controls),
        report.replay_part(replayed),
        report.corrupted_part(turned),
    ]
    folder: Path = options.out
    folder.mkdir(parents=True, exist_ok=True)
    found = {"mutants": mutants, "replayed": replayed, "corrupted": turned}
    for name, text in report.render(parts, killed, spared, **found).items():
        (folder / name).write_text(text, encoding="utf-8")
    for part in parts:
        print(f"{part.title}: {part.result}")
        for problem in part.problems:
            print(f"  {problem}", file=sys.stderr)
    print(f"Report: {folder / report.MARKDOWN}")
    return 1 if any(part.problems for part in parts) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m proof", description=__doc__)
    parser.add_argument("--workers", type=int, default=2, help="processes to spread the cases over (2)")
    parser.add_argument("--thorough", action="store_true", help="try the mutants that are known to live, too")
    parser.add_argument("--out", type=Path, default=ROOT / "reports", help="folder to write to (reports)")
    return parser


def _timed() -> Callable[[str, Callable[[], Any]], Any]:
    """Runs a part and says how long it took; on the terminal only, since times differ from run to run."""

    def say(name: str, run: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = run()
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
        return result

    return say


if __name__ == "__main__":
    sys.exit(main())
