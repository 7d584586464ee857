"""What the parts of the proof found -> ``reports/proof.md`` and ``proof.json``, and what speaks against it. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from proof.alarms import Spared
from proof.ask import ALL_CHECKS
from proof.corrupted.run import Turned
from proof.matrix import OTHERS, Killed
from proof.mutation.run import ENOUGH, share_killed, stale, survivors
from proof.mutation.runtime import PER_FILE, TriedInRuntime
from proof.mutation.trial import BROKEN, EQUAL, KILLED, LEFT_OUT, SURVIVED, TIMED_OUT, Tried
from proof.replay import Replayed
from proof.seeded.fault import FAULTS
from proof.sensitivity import Seen

MARKDOWN, DATA = "proof.md", "proof.json"
ENOUGH_RE_WRITINGS = 30
SIGNS = {"K": "**K**", "k": "k", "-": "·", "": ""}


@dataclass(frozen=True)
class Part:
    """One line of the summary, and what is wrong with it."""

    title: str
    result: str
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contribution:
    """What one check adds to the whole."""

    check: str
    claimed: int
    kills: int
    asked: int
    alone: int


def seeded_part(rows: Sequence[Killed]) -> Part:
    """Every wrong variant killed by the check that claims it, every fault shown, every check needed."""
    alive = [f"{r.name} survives: {r.claimed} does not kill it" for r in rows if not r.proven]
    shown = {r.fault for r in rows}
    missing = [f"no seeded fault for: {fault}" for fault in FAULTS if fault not in shown]
    proven = sum(r.proven for r in rows)
    return Part("Seeded faults", f"{proven} of {len(rows)} killed by the check that claims them", (*alive, *missing))


def alarms_part(rows: Sequence[Spared]) -> Part:
    """No correct rewrite with a worse verdict than what it rewrites, and enough of them."""
    alarms = [f"false positive: {r.name} is {r.label}, want {r.want}: {r.told}" for r in rows if r.alarm]
    if len(rows) < ENOUGH_RE_WRITINGS:
        alarms.append(f"only {len(rows)} rewrites, want {ENOUGH_RE_WRITINGS}")
    spared = sum(not r.alarm for r in rows)
    return Part("False positives", f"{spared} of {len(rows)} correct rewrites pass", tuple(alarms))


def mutation_part(rows: Sequence[Tried], controls: Mapping[str, str], untried: int = 0) -> Part:
    """Enough of the mutants killed, every survivor known, and nothing killed by the way it is loaded.

    ``untried``: how many the run had no time for.
    """
    share, alive = share_killed(rows), survivors(rows)
    problems = [f"{file} is killed without a mistake in it, by {case}" for file, case in controls.items() if case]
    problems += [f"listed as a survivor, but killed: {' '.join(key)}" for key in stale(rows)]
    problems += [
        f"survivor without a reason in known.json: {r.file}:{r.line} {r.before} -> {r.after}"
        for r in alive
        if not r.reason
    ]
    if share < ENOUGH and not untried:
        problems.append(f"{share:.1%} of the mutants killed, want {ENOUGH:.0%}")
    counts = Counter(row.status for row in rows)
    told = ", ".join(f"{counts[status]} {status}" for status in (EQUAL, LEFT_OUT, BROKEN) if counts[status])
    killed = counts[KILLED] + counts[TIMED_OUT]
    result = f"{killed} of {killed + len(alive)} mutants killed ({share:.1%}); not counted: {told}"
    result += f"; {untried} not tried yet" if untried else ""
    return Part("Mutants of the variants' own code", result, tuple(problems))


def runtime_part(rows: Sequence[TriedInRuntime], untried: int = 0) -> Part:
    """Enough of the sampled mutants of the runtime told by a test or the audit, every survivor known.

    ``untried``: how many of the sample the run had no time for.
    """
    lives = [r for r in rows if r.status == SURVIVED]
    killed = [r for r in rows if r.status in (KILLED, TIMED_OUT)]
    share = len(killed) / max(1, len(killed) + len(lives))
    audit = sum(not r.killer.startswith("tests/") for r in killed)
    problems = [
        f"survivor without a reason in known.json: {r.file}:{r.line} {r.function}, {r.before} -> {r.after}"
        for r in lives
        if not r.reason
    ]
    if share < ENOUGH and not untried:
        problems.append(f"{share:.1%} of the mutants of the runtime killed, want {ENOUGH:.0%}")
    told = f"{sum(r.status == EQUAL for r in rows)} {EQUAL}, {sum(r.status == LEFT_OUT for r in rows)} {LEFT_OUT}"
    result = (
        f"{len(killed)} of {len(killed) + len(lives)} mutants killed ({share:.1%}), {len(killed) - audit} by tests and "
        f"{audit} by the audit alone; not counted: {told}"
    )
    result += f"; {untried} not tried yet" if untried else ""
    return Part("Mutants of the runtime (a sample)", result, tuple(problems))


def sensitivity_part(rows: Sequence[Seen]) -> Part:
    """A change of a tenth in what any tensor adds, or in any gradient, is seen; the figure is the coarsest of all."""
    blind = [
        f"{row.variant}: a change of the {kind} of {tensor} by a tenth is not seen"
        for row in rows
        for tensor, kinds in row.tensors.items()
        for kind, n in kinds.items()
        if not n and kind != "start"
    ]
    coarsest = {
        kind: min(kinds[kind] for row in rows for kinds in row.tensors.values() if kind in kinds)
        for kind in ("contribution", "gradient")
    }
    told = ", ".join(f"{kind} by {power(n)}" for kind, n in coarsest.items())
    return Part("Sensitivity", f"seen of every tensor of every variant: a change of its {told}", tuple(blind))


def power(n: int | None) -> str:
    """A power of ten in words; nothing for what is not asked."""
    if n is None:
        return ""
    return f"1e-{n}" if n else "not at 0.1"


def replay_part(rows: Sequence[Replayed]) -> Part:
    """Every variant of the old states gets the verdict that its review gave."""
    wrong = [
        f"{r.state} review, {r.column} ({r.bug}): {r.got} {r.got_declared}, want {r.want} {r.want_declared}"
        for r in rows
        if not r.as_wanted
    ]
    states = len({r.state for r in rows})
    return Part(
        "Historical replay",
        f"{len(rows) - len(wrong)} of {len(rows)} verdicts on {states} states as wanted",
        tuple(wrong),
    )


def corrupted_part(rows: Sequence[Turned]) -> Part:
    """Every corruption of peft seen by the lock, and by the comparison itself without it."""
    wrong = tuple(problem for r in rows for problem in r.problems)
    seen = sum(not r.problems for r in rows)
    return Part("Corrupted peft", f"{seen} of {len(rows)} corruptions seen", wrong)


def by_file(rows: Sequence[Tried] | Sequence[TriedInRuntime]) -> list[dict[str, Any]]:
    """Per file: how many mutants, and what became of them."""
    summed = []
    for file in sorted({row.file for row in rows}):
        own = [row for row in rows if row.file == file]
        checks = Counter(_by(row.killer) for row in own if row.killer)
        summed.append({"file": file, "counts": Counter(row.status for row in own), "checks": checks.most_common()})
    return summed


def _by(killer: str) -> str:
    """The check of a case, the file of a test, or the words themselves."""
    if killer.startswith("tests/"):
        return killer.partition("::")[0]
    return killer.split("/")[2] if killer.count("/") >= 3 else killer


def contributions(rows: Sequence[Killed]) -> list[Contribution]:
    """Per check: claimed, kills, asked, and those that it alone kills."""
    return [
        Contribution(
            check,
            sum(r.claimed == check for r in rows),
            sum(check in r.kills for r in rows),
            sum(check in r.asked for r in rows),
            sum(list(r.kills) == [check] for r in rows),
        )
        for check in ALL_CHECKS
    ]


def render(parts: Sequence[Part], killed: Sequence[Killed], spared: Sequence[Spared], **more: Any) -> dict[str, str]:
    """File name -> contents. ``more``: the rows of the other parts, by the names that the template uses."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters["cell"] = lambda text: " ".join(str(text).replace("|", "\\|").split())
    environment.filters["short"] = lambda text: text if len(text) <= 110 else f"{text[:107]}..."
    by_variant = groupby(sorted(killed, key=lambda r: (r.like, r.name)), key=lambda r: r.like)
    text = environment.get_template("proof.md.j2").render(
        parts=parts,
        problems=[problem for part in parts for problem in part.problems],
        faults=[(fault, [r for r in killed if r.fault == fault]) for fault in FAULTS],
        killers_of=lambda rows: sorted({r.claimed for r in rows if r.proven}),
        contributions=contributions(killed),
        checks=ALL_CHECKS,
        sign=SIGNS,
        others=OTHERS,
        by_variant=[(like, list(rows)) for like, rows in by_variant],
        spared=spared,
        mutation_files=by_file(more["mutants"]),
        runtime_files=by_file(more["runtime_mutants"]),
        per_file=PER_FILE,
        power=power,
        **more,
    )
    rows = {"seeded_faults": killed, "rewrites": spared, **more}
    return {MARKDOWN: text, DATA: as_data(rows)}


OF_MUTANTS = ("file", "function", "operator", "before", "after", "status", "killer", "reason")
FIELDS = {
    "seeded_faults": ("name", "like", "bug", "fault", "claimed", "before", "kills"),
    "rewrites": ("name", "like", "label", "want", "cases"),
    "mutants": OF_MUTANTS,
    "runtime_mutants": OF_MUTANTS,
}
"""What a reader needs of the parts that have many rows, and what the next run looks at first; nothing that is empty."""


def as_data(rows: Mapping[str, Sequence[Any]]) -> str:
    """JSON with a line for each row, so that a difference between two commits can be read."""
    parts = []
    for name, each in sorted(rows.items()):
        whole = [dataclasses.asdict(row) for row in each]
        slim = [{k: v for k, v in row.items() if k in FIELDS.get(name, row) and v not in ("", None)} for row in whole]
        lines = ",\n".join(json.dumps(row, sort_keys=True, ensure_ascii=False) for row in slim)
        parts.append(f"{json.dumps(name)}: [\n{lines}\n]")
    return "{" + ",\n".join(parts) + "}\n"
