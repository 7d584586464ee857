"""Keep a worse verdict out: compare what was just rendered with what is committed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from conformance.judging.judge import worse
from conformance.nouns.verdict import Label, Verdict
from conformance.planning.revisions import git

RESULTS = "results.json"
"""The machine-readable results in the folder of the reports."""


@dataclass(frozen=True)
class Gate:
    """Why the gate is closed; open if there is no reason."""

    reasons: tuple[str, ...]

    @property
    def status(self) -> int:
        """The exit status."""
        return 1 if self.reasons else 0


def check(verdicts: tuple[Verdict, ...], committed: Mapping[str, Label], stale: tuple[str, ...]) -> Gate:
    """Closed by: nothing audited, an UNPROVEN, a verdict worse than the committed one, a new variant that is not right
    from the start, a committed variant that was not audited, a card that is out of date.
    """
    reasons = [] if verdicts else ["nothing was audited: the plan is empty"]
    for verdict in verdicts:
        before = committed.get(verdict.variant)
        if verdict.label is Label.UNPROVEN:
            reasons.append(f"{verdict.variant} is UNPROVEN: {verdict.reason}")
        elif before is not None and worse(verdict.label, before):
            reasons.append(f"{verdict.variant} went from {before} to {verdict.label}: {verdict.reason}")
        elif before is None and verdict.label is Label.BUGGY:
            reasons.append(f"{verdict.variant} is new and BUGGY: {verdict.reason}")
    gone = sorted(set(committed) - {v.variant for v in verdicts})
    reasons += [f"{name} has a committed verdict and was not audited" for name in gone]
    reasons += [f"{path} is out of date: commit what was just rendered" for path in stale]
    return Gate(tuple(reasons))


def committed_labels(reports: Path, revision: str) -> dict[str, Label]:
    """The verdicts in ``revision`` (outside git: on disk). Empty where none are committed. ValueError if unreadable."""
    text = committed_text(reports / RESULTS, revision)
    if text is None:
        return {}
    try:
        return {name: Label(row["verdict"]) for name, row in json.loads(text)["variants"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{reports / RESULTS} at {revision}: got {error!r}, want the results of a run. "
            "Restore it from git, or delete it."
        ) from error


def stale_files(reports: Path, files: Mapping[str, str]) -> tuple[str, ...]:
    """Rendered files that differ from the staged ones (outside git: those on disk), and cards of no variant."""
    stale = {name for name, text in files.items() if committed_text(reports / name, "") != text}
    pattern = f":(glob){_from_folder(reports / '*.md')}"
    staged = [Path(line).name for line in (_git(reports / RESULTS, "ls-files", "--", pattern) or "").splitlines()]
    on_disk = [path.name for path in reports.glob("*.md")]
    leftovers = {name for name in {*staged, *on_disk} - set(files) if is_card(name, committed_text(reports / name, ""))}
    return tuple(f"{reports.name}/{name}" for name in sorted(stale | leftovers))


def is_card(name: str, text: str | None) -> bool:
    """Whether a file is a rendered card and not something else that somebody keeps in the folder."""
    return text is not None and text.startswith(tuple(f"# {Path(name).stem}: {label}" for label in Label))


def committed_text(path: Path, revision: str) -> str | None:
    """A file's contents at a git revision; the empty revision is the index. Outside git: what is on disk."""
    inside = _git(path, "rev-parse", "--is-inside-work-tree")
    if inside is None:
        if revision not in ("", "HEAD"):
            where = path.parent.resolve()
            raise ValueError(f"--against {revision}: {where} is not in a git repository, so it has no revisions.")
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
    if revision and _git(path, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}") is None:
        if revision != "HEAD":
            raise ValueError(f"--against: unknown git revision {revision!r}. Fetch it, or name another.")
        return None
    return _git(path, "show", f"{revision}:{_from_folder(path)}")


def _git(path: Path, *arguments: str) -> str | None:
    return git(_folder(path), *arguments, errors="replace")


def _folder(path: Path) -> Path:
    """The nearest folder above a file that is there: the reports may have been deleted."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())


def _from_folder(path: Path) -> str:
    """The path as git wants it, seen from ``_folder``."""
    return f"./{path.absolute().relative_to(_folder(path)).as_posix()}"
