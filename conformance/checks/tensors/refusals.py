"""Does it raise an error for invalid settings: an unknown option, an impossible rank, missing calibration data?"""

from __future__ import annotations

from dataclasses import replace

from conformance.checks.check import SMALL
from conformance.measuring.compare import conclude, holds
from conformance.measuring.trial import Trial
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import Options, Reference


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Every option set that the entry says it refuses."""
    if entry.method is None or reference is not entry.method.main:
        return ()
    plain = replace(SMALL, state="t0", dtype="float32", adapter=None)
    return tuple(replace(plain, options=each, label=_label(each)) for each in entry.refused)


def _label(options: Options) -> str:
    return "-".join(f"{name}={value}" for name, value in options)


def run(trial: Trial) -> Finding:
    """Build with the impossible setting: an error must come, and the layer must be unchanged."""
    options = dict(trial.probe.options)
    rank = options.pop("r", trial.probe.r)
    probe = replace(trial.probe, r=rank, options=tuple(options.items()))
    layer = trial.layer()
    before = layer.weight.detach().clone()
    told = ""
    try:
        replace(trial, probe=probe).subject(layer)
    except Exception as error:
        told = str(error)
    left = [name for name, _ in layer.named_modules() if name]
    return conclude(
        trial.case,
        [
            holds(bool(told), "impossible settings", "no error", "an error"),
            holds(bool((layer.weight == before).all()) and not left, "layer after the error", "changed", "unchanged"),
        ],
    )
