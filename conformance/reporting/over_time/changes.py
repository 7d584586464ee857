"""What changed between two results of runs: verdicts, sections, findings, declared deviations. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

Results = Mapping[str, Mapping[str, Any]]
"""Variant -> its row in ``results.json``."""


@dataclass(frozen=True)
class Changed:
    """One variant. A verdict of "" says that there was, or is, none."""

    variant: str
    before: str
    after: str
    sections: tuple[tuple[str, str, str], ...] = ()
    """Section, word before, word after."""
    came: tuple[str, ...] = ()
    """Findings and declared deviations that are new, in words."""
    went: tuple[str, ...] = ()
    """Those that are gone."""

    @property
    def nothing(self) -> bool:
        """Whether the two results say the same of it."""
        return self.before == self.after and not (self.sections or self.came or self.went)

    def lines(self) -> list[str]:
        """For a terminal."""
        verdict = self.after if self.before == self.after else f"{self.before or 'none'} -> {self.after or 'none'}"
        told = [f"{self.variant}: {verdict}"]
        told += [f"  {name}: {old or 'none'} -> {new or 'none'}" for name, old, new in self.sections]
        told += [f"  - {words}" for words in self.went]
        return told + [f"  + {words}" for words in self.came]


def changes(before: Results, after: Results) -> tuple[Changed, ...]:
    """The variants of which the two say something else, in the order of names."""
    made = []
    for name in sorted({*before, *after}):
        old, new = before.get(name, {}), after.get(name, {})
        was, now = old.get("sections", {}), new.get("sections", {})
        sections = [(s, was.get(s, ""), now.get(s, "")) for s in {**now, **was} if was.get(s) != now.get(s)]
        told_before, told_after = _told(old), _told(new)
        made.append(
            Changed(
                name,
                str(old.get("verdict", "")),
                str(new.get("verdict", "")),
                tuple(sections) if old and new else (),
                tuple(words for words in told_after if words not in told_before),
                tuple(words for words in told_before if words not in told_after),
            )
        )
    return tuple(change for change in made if not change.nothing)


def as_data(changed: tuple[Changed, ...]) -> list[dict[str, Any]]:
    """Plain data."""
    return [
        {**asdict(c), "sections": [dict(zip(("section", "before", "after"), s, strict=True)) for s in c.sections]}
        for c in changed
    ]


def _told(row: Mapping[str, Any]) -> list[str]:
    """Findings and deviations in words, without places: a line number that moved is no change of what was found."""
    findings = [
        f"{f.get('severity', '')} {f.get('text', '')} ({_where(f.get('case', ''))})" for f in row.get("findings", ())
    ]
    return list(dict.fromkeys([*findings, *(f"declared: {d.get('what', '')}" for d in row.get("deviations", ()))]))


def _where(case: str) -> str:
    """Reference and check of a case; the configuration of the first case that shows a finding may move."""
    parts = case.split("/")
    return "/".join(parts[1:3]) if len(parts) > 3 else case
