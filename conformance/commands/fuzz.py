"""``conformance fuzz``: look for a difference anywhere in the space of uses, and shrink it to the smallest case."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from conformance.commands.options import Commands, add_entries, add_json, minutes
from conformance.planning.names import BadRequest, require_variants
from conformance.running.background import Bar

if TYPE_CHECKING:
    from conformance.planning.plan import Planned

EXAMPLES = 60
"""Between two looks at the clock."""


def add_to(commands: Commands) -> None:
    """Say what ``fuzz`` takes."""
    parser = commands.add_parser(
        "fuzz",
        help="random search for a difference, over dtypes, sizes, modes and options",
        description="Status 0: no difference was found in the time; 1: one was, and its smallest case is printed. "
        "conformance audit --case replays it.",
    )
    parser.add_argument("variant", metavar="VARIANT")
    parser.add_argument("--minutes", type=minutes, default=5.0, help="how long to search (default 5)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the random search; another seed tries other points (default 0)"
    )
    parser.add_argument(
        "--keep", action="store_true", help="add what is found to the corpus, which every plan includes"
    )
    add_json(parser)
    add_entries(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Draw points until the time is over or one differs."""
    from conformance.planning.select import choose, entries_at, own_names

    if options.entries is None:
        require_variants([options.variant], [name for name, _ in own_names()])
    try:
        import hypothesis
    except ImportError:
        raise BadRequest(
            "fuzz: got no hypothesis, want it installed. pip install 'adapter-conformance[test]'."
        ) from None
    import torch

    torch.set_num_threads(1)
    entry = choose([options.variant], entries_at(options.entries))[0]
    seconds = round(60 * options.minutes)
    end, seed, asked = time.monotonic() + 60 * options.minutes, options.seed, 0
    bar = Bar(f"fuzz {entry.name}, seconds", seconds) if seconds > 2 else None
    found: Planned | None = None
    while found is None and (left := end - time.monotonic()) > 0:
        if bar is not None and seed > options.seed:
            bar.step(f"{asked} points", by=max(0, min(seconds - 1, round(seconds - left)) - bar.done))
        found, n = _look(hypothesis, entry, seed)
        asked, seed = asked + n, seed + 1
    if bar is not None and bar.live:
        print(file=sys.stderr)
    if options.json:
        print(json.dumps(_data(options, entry.name, asked, found), indent=2))
    elif found is None:
        print(f"{entry.name}: no difference at {asked} points (seed {options.seed})")
    return 0 if found is None else _tell(found, options.keep, quiet=options.json)


def _data(options: argparse.Namespace, variant: str, asked: int, found: Planned | None) -> dict[str, Any]:
    """Plain data. Figures that are no numbers are words: JSON has no NaN."""
    from conformance.running.run import run_case

    told = {"variant": variant, "seed": options.seed, "points": asked, "found": None}
    if found is None:
        return told
    finding = run_case(found).to_json()
    kept = {name: finding[name] for name in ("case", "what", "where", "got", "want", "error", "limit")}
    return {**told, "found": json.loads(json.dumps(kept), parse_constant=str)}


def _look(hypothesis, entry, seed: int):  # type: ignore[no-untyped-def]
    """The smallest point that differs, if one of some does; and how many were asked."""
    from conformance.planning.select import at_the_same_point
    from conformance.space.fuzzing import points

    last: list[Planned] = []
    asked = 0

    def sound(drawn) -> None:  # type: ignore[no-untyped-def]
        nonlocal asked
        asked += 1
        reference, probe = drawn
        planned = at_the_same_point(entry, reference, probe)
        if differing := _differing(planned):
            last[:] = differing[:1]
            raise AssertionError("a difference")

    settings = hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        print_blob=False,
    )
    try:
        hypothesis.seed(seed)(settings(hypothesis.given(points(entry))(sound)))()
    except AssertionError:
        return last[0], asked
    return None, asked


def _differing(planned: tuple[Planned, ...]) -> list[Planned]:
    """The cases there that the judge holds against the variant: of the reference that was asked, or of a witness."""
    from conformance.judging.judge import judge
    from conformance.running.run import run_case

    entry = planned[0].entry
    findings = {each.case.id: run_case(each) for each in planned}
    cases = [each.case for each in planned]
    known = [d for d in entry.deviations if "/space/" in d.cases]
    held = {decided.case for decided in judge([entry.name], cases, findings, {entry.name: known}, needed=())[0].buggy}
    return [each for each in planned if each.case in held]


def _tell(found: Planned, keep: bool, *, quiet: bool) -> int:
    from conformance.running.run import run_case
    from conformance.space.points import CORPUS

    if not quiet:
        print(run_case(found).message())
    if keep:
        with CORPUS.open("a", encoding="utf-8") as file:
            file.write(f"{found.case.id}\n")
        print(f"kept in {CORPUS}", file=sys.stderr)
    return 1
