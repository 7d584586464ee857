"""A residual in words: the words must be of what is wrong, and not of the test configuration."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from conformance.foreign.entry import entry
from conformance.measuring.explain import explained
from conformance.measuring.trial import Trial, run
from conformance.nouns.probe import Probe
from tests.harness.stand_ins import Unscaled, put

SAME = "the residual is the same for every input: a multiple of the bias for each output"


def trial(batch: tuple[int, ...]) -> Trial:
    """LoRA without alpha / r, beside peft's."""
    subject = entry("unscaled", "peft:lora", put(Unscaled), code=Unscaled)
    assert subject.method is not None
    return Trial(subject, subject.method.main, Probe(batch=batch), "forward")


def told(case: Trial, move: Tensor | None = None) -> str:
    """What is said of the subject's output, or of the reference's, moved."""
    values = case.state(case.reference_subject())
    want = run(case.reference_subject(values=values), case.x, case.cotangent, backward=False).y
    got = run(case.subject(values=values), case.x, case.cotangent, backward=False).y if move is None else want + move
    return explained(case, got, want, values)


@pytest.mark.parametrize("batch", [(1,), (), (2,), (5,), (2, 3)])
def test_a_scale_is_named_whatever_the_batch(batch: tuple[int, ...]) -> None:
    """Of one input, a missing alpha / r would be explained as a mistake with the bias."""
    assert told(trial(batch)) == "the adapter's part is r/alpha times the reference's"


def test_the_bias_is_named_where_there_are_inputs_to_tell() -> None:
    """One residual for all inputs would be no hint, or one input would be taken for all."""
    each = torch.linspace(0.1, 2.0, 20, dtype=torch.float64)
    assert told(trial((5,)), each) == SAME
    assert told(trial((1,)), each) == ""
    assert told(trial((2,)), each) == ""
