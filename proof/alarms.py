"""False alarms: correct variants in other words, and what the harness makes of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from proof.ask import verdict_on
from proof.pool import each
from proof.seeded.registry import REWRITES, entry_of
from subjects.own.roster import ENTRIES


@dataclass(frozen=True)
class Spared:
    """One re-writing with its label, and that of the variant it re-writes, from the same checks."""

    name: str
    words: str
    like: str
    label: str
    want: str
    cases: int
    told: str
    """The first finding against it."""

    @property
    def alarm(self) -> bool:
        """Called worse than the variant that it re-writes."""
        return self.label != self.want


def run(workers: int, names: Iterable[str] | None = None) -> list[Spared]:
    """Every re-writing, or those named, before every check."""
    wanted = None if names is None else set(names)
    shown = [r for r in REWRITES if wanted is None or r.name in wanted]
    originals = sorted({r.like for r in shown})
    labels = dict(zip(originals, each(_original, originals, workers)))
    return each(_one, [(r.name, labels[r.like]) for r in shown], workers)


def _original(name: str) -> str:
    return verdict_on(next(entry for entry in ENTRIES if entry.name == name)).label.value


def _one(job: tuple[str, str]) -> Spared:
    name, want = job
    rewriting = next(r for r in REWRITES if r.name == name)
    verdict = verdict_on(entry_of(rewriting))
    told = verdict.buggy[0].finding.message() if verdict.buggy else verdict.reason
    words = (rewriting.variant.__doc__ or "").strip()
    return Spared(name, words, rewriting.like, verdict.label.value, want, len(verdict.findings), told)
