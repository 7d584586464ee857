"""The table of what ran where. Without times, so that two runs on one computer give the same text."""

from __future__ import annotations

from collections.abc import Sequence

from machines.audit import Outcome, Result
from machines.machine import Allowed, Machine

PASSES = (Outcome.SAME, Outcome.ALLOWED, Outcome.PASSED)
FAULTS = (Outcome.DIFFERS, Outcome.FAILED)


def render(results: Sequence[Result], *, where: str, commit: str, machines: Sequence[Machine]) -> str:
    """Markdown. ``machines``: the whole registry; those without a result are named as not asked for."""
    lines = [
        "# The audit on emulated machines",
        "",
        f"Commit {commit}. Run on {where}.",
        "",
        summary(results),
        "",
        "| Machine | Emulates | Result |",
        "| --- | --- | --- |",
        *(f"| {r.machine.name} | {_cell(r.machine.emulates)} | {_cell(str(r))} |" for r in results),
    ]
    asked = {machine.name for result in results for machine in (result.machine, *result.machine.parts)}
    if any(result.machine.parts for result in results):
        lines += ["", "`a+b`: one audit on a machine that is both. Each part showed its own witness before the audit."]
    if rest := [machine.name for machine in machines if machine.name not in asked]:
        lines += ["", f"Not asked for: {', '.join(rest)}."]
    return "\n".join(lines) + "\n"


def summary(results: Sequence[Result]) -> str:
    """How many rows ended how, and which could not run: those show nothing."""
    counts = [(outcome, [r.machine.name for r in results if r.outcome is outcome]) for outcome in Outcome]
    parts = [f"{len(names)} {outcome.value}" for outcome, names in counts if names]
    idle = [r.machine.name for r in results if r.outcome is Outcome.COULD_NOT_RUN]
    text = f"{len(results)} machine{'' if len(results) == 1 else 's'}: {', '.join(parts)}."
    return f"{text} Nothing is shown for {', '.join(idle)}." if idle else text


def status(results: Sequence[Result]) -> int:
    """0 if nothing differs or failed, and at least one row is a pass; 1 otherwise."""
    outcomes = [result.outcome for result in results]
    passed = any(outcome in PASSES for outcome in outcomes)
    return 0 if passed and not any(outcome in FAULTS for outcome in outcomes) else 1


def needless(results: Sequence[Result], allowed: Sequence[Allowed]) -> list[str]:
    """Exceptions of which the row shows nothing any more: the same bytes were rendered."""
    same = {r.machine.name for r in results if r.outcome is Outcome.SAME}
    return sorted({a.machine for a in allowed if a.machine in same})


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
