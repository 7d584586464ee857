"""Run one case. Whatever goes wrong becomes a finding that says whose it is."""

from __future__ import annotations

import warnings
from fnmatch import fnmatchcase

import torch

from conformance.compare import raised
from conformance.model import Finding, Outcome
from conformance.plan import Planned
from conformance.trial import SubjectFailed, Trial, in_words
from refs.reference import Live


def run_case(planned: Planned) -> Finding:
    """The finding of one case; never raises for a broken subject or reference."""
    trial = Trial(planned.entry, planned.reference, planned.probe, planned.check.name)
    rng, dtype = torch.get_rng_state(), torch.get_default_dtype()
    try:
        # Foreign code may leave torch's global state changed; the next case must not be measured in that state.
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            finding = planned.check.run(trial)
        if finding.case != trial.case:
            raise ValueError(f"the check answered for {finding.case}")
        return finding
    except SubjectFailed as failure:
        return raised(trial.case, str(failure))
    except Exception as error:
        if why := _declared(planned):
            return Finding(trial.case, Outcome.NOT_APPLICABLE, what=why, got=in_words(error), want="an answer")
        return Finding(trial.case, Outcome.ERROR, what="could not ask", got=in_words(error), want="an answer")
    finally:
        torch.set_rng_state(rng)
        torch.set_default_dtype(dtype)


def _declared(planned: Planned) -> str:
    """Why the reference cannot answer here, if that is declared."""
    cannot = planned.reference.cannot if isinstance(planned.reference, Live) else ()
    return next((why for pattern, why in cannot if fnmatchcase(planned.probe.id, pattern)), "")
