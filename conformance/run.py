"""Run one case. Whatever goes wrong becomes a finding that says whose it is."""

from __future__ import annotations

import warnings

import torch

from conformance.model import Finding, Outcome
from conformance.plan import Planned
from conformance.trial import SubjectFailed, Trial


def run_case(planned: Planned) -> Finding:
    """The finding of one case; never raises for a broken subject or reference."""
    trial = Trial(planned.entry, planned.reference, planned.probe, planned.check.name)
    rng = torch.get_rng_state()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return planned.check.run(trial)
    except SubjectFailed as failure:
        return Finding(
            trial.case, Outcome.DIFFER, 1, "it raised", got=str(failure), want="an answer, as the reference gives"
        )
    except Exception as error:
        return Finding(
            trial.case, Outcome.ERROR, what="could not ask", got=f"{type(error).__name__}: {error}", want="an answer"
        )
    finally:
        torch.set_rng_state(rng)
