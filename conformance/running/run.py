"""Run one case. Whatever goes wrong becomes a finding that says whose it is."""

from __future__ import annotations

import traceback
from fnmatch import fnmatchcase
from pathlib import Path

from conformance.measuring.compare import raised
from conformance.measuring.places import placed
from conformance.measuring.trial import SubjectFailed, Trial, asking_the_subject, frame_of, in_words
from conformance.nouns.entry import line_at
from conformance.nouns.finding import Finding, Outcome
from conformance.planning.plan import Planned
from conformance.running.global_state import pinned
from conformance.running.kinds import named
from refs.reference import Live


def run_case(planned: Planned) -> Finding:
    """The finding of one case; never raises for a broken subject or reference."""
    trial = Trial(planned.entry, planned.reference, planned.probe, planned.check.name)
    with pinned():
        return placed(trial, named(planned, _run_pinned(planned, trial)))


def _run_pinned(planned: Planned, trial: Trial) -> Finding:
    try:
        finding = planned.check.run(trial)
        if finding.case != trial.case:
            raise ValueError(f"the check answered for {finding.case}")
        return finding
    except SubjectFailed as failure:
        return raised(trial.case, f"{failure}{frame_of(failure.__cause__)}")
    except Exception as error:
        if why := _declared(planned, str(error)):
            if problem := _silent(trial):
                return raised(trial.case, problem, expected="a finite output: only the reference cannot answer here")
            return Finding(trial.case, Outcome.NOT_APPLICABLE, what=why, got=in_words(error), want="a value")
        return Finding(trial.case, Outcome.ERROR, what="the case could not be measured", got=_told(error))


def _told(error: Exception) -> str:
    """In words; of an error that has none, such as a bare ``assert``, where it was raised."""
    if str(error):
        return in_words(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {line_at(Path(frame.filename), frame.lineno or 0)}: {frame.line}"


def _declared(planned: Planned, text: str) -> str:
    """Why the reference cannot answer here, if that is declared and it failed in that way."""
    cannot = planned.reference.cannot if isinstance(planned.reference, Live) else ()
    return next((why for at, told, why in cannot if fnmatchcase(planned.probe.id, at) and told in text), "")


def _silent(trial: Trial) -> str:
    """What keeps the subject from answering where the reference cannot; empty if it does answer."""
    try:
        with asking_the_subject():
            y = trial.subject()(trial.x)
    except SubjectFailed as failure:
        return str(failure)
    shape = (*trial.probe.batch, trial.probe.d_out)
    if y.shape != shape or y.dtype != trial.x.dtype or not bool(y.isfinite().all()):
        return f"{y.dtype} of shape {tuple(y.shape)}, want finite {trial.x.dtype} of shape {shape}"
    return ""
