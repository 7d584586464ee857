"""``conformance fuzz``: look for a difference anywhere in the space of uses, and shrink it to the smallest case."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from conformance.commands.options import Commands, add_entries, minutes
from conformance.planning.names import BadRequest, require_variants

if TYPE_CHECKING:
    from conformance.planning.plan import Planned

EXAMPLES = 60
"""Between two looks at the clock."""


def add_to(commands: Commands) -> None:
    """Say what ``fuzz`` takes."""
    parser = commands.add_parser(
        "fuzz",
        help="look for a difference anywhere in the space of uses",
        description="Status 0: no difference was found in the time; 1: one was, and its smallest case is printed. "
        "conformance audit --case replays it.",
    )
    parser.add_argument("variant", metavar="VARIANT")
    parser.add_argument("--minutes", type=minutes, default=5.0, help="how long to look (default 5)")
    parser.add_argument("--seed", type=int, default=0, help="another one looks elsewhere (default 0)")
    parser.add_argument(
        "--keep", action="store_true", help="add what is found to the corpus, which every plan includes"
    )
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
    end, seed, asked = time.monotonic() + 60 * options.minutes, options.seed, 0
    while time.monotonic() < end:
        found, n = _look(hypothesis, entry, seed)
        asked, seed = asked + n, seed + 1
        if found is not None:
            return _tell(found, options.keep)
    print(f"{entry.name}: no difference at {asked} points (seed {options.seed})")
    return 0


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
        if _differs(planned):
            last[:] = planned[:1]
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


def _differs(planned: tuple[Planned, ...]) -> bool:
    """Whether the judge holds what is found there against the variant."""
    from conformance.judging.judge import judge
    from conformance.running.run import run_case

    entry = planned[0].entry
    findings = {each.case.id: run_case(each) for each in planned}
    cases = [each.case for each in planned]
    known = [d for d in entry.deviations if "/space/" in d.cases]
    return bool(judge([entry.name], cases, findings, {entry.name: known}, needed=())[0].buggy)


def _tell(found: Planned, keep: bool) -> int:
    from conformance.running.run import run_case
    from conformance.space.points import CORPUS

    print(run_case(found).message())
    if keep:
        with CORPUS.open("a", encoding="utf-8") as file:
            file.write(f"{found.case.id}\n")
        print(f"kept in {CORPUS}", file=sys.stderr)
    return 1
