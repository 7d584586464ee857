"""Process-wide settings: each case is measured in the same state, whatever a caller or a subject left set."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as modules

from conformance.nouns.finding import Finding, Outcome
from conformance.planning.plan import Planned, make_plan
from conformance.running.global_state import HOOKS, SETTINGS, pinned
from conformance.running.run import run_case
from tests.harness import toys

OTHER: dict[str, Any] = {
    "default dtype": torch.bfloat16,
    "default device": torch.device("meta"),
    "threads": 2,
    "matmul precision": ("medium", "bf16"),
    "deterministic algorithms": (True, True),
    "gradients": False,
    "anomaly detection": True,
    "denormals flushed": True,
    "oneDNN": False,
    "autocast on the CPU": True,
    "autocast dtype": torch.float16,
    "autocast cache": False,
    "NumPy's floating-point errors": dict.fromkeys(np.geterr(), "raise"),
}
"""A value of each setting that is not the pinned one."""

CHECKS = ("forward", "gradients", "low_precision", "init", "params")


def some_cases() -> list[Planned]:
    """Two cases of each check that computes."""
    plan = [p for p in make_plan(toys.ONE) if isinstance(p.reference, type(toys.LIVE))]
    return [p for check in CHECKS for p in [q for q in plan if q.case.check == check][:2]]


def measured(planned: Planned) -> tuple[Outcome, int, str, float, str]:
    """What a finding says, figures included: the state must not show in the last digit."""
    found: Finding = run_case(planned)
    return found.outcome, found.n_compared, found.what, found.error, str(found.facts)


def test_every_setting_is_tried() -> None:
    """A setting could be added to the list and never be restored."""
    assert set(OTHER) == {setting.name for setting in SETTINGS}
    assert all(OTHER[setting.name] != setting.pinned for setting in SETTINGS)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_callers_setting_changes_no_finding(setting: Any) -> None:
    """The verdict would be that of the caller's settings, not of the code (bfloat16 by default: 4 variants BUGGY)."""
    cases = some_cases()
    clean = [measured(planned) for planned in cases]
    before = setting.read()
    setting.write(OTHER[setting.name])
    try:
        assert setting.read() == OTHER[setting.name]
        found = [measured(planned) for planned in cases]
        assert setting.read() == OTHER[setting.name]  # and the caller finds it as it was
    finally:
        setting.write(before)
    assert found == clean


def test_inference_mode_of_the_caller_changes_no_finding() -> None:
    """Every gradient would be missing on both sides, and so agree."""
    cases = some_cases()
    clean = [measured(planned) for planned in cases]
    with torch.inference_mode():
        assert [measured(planned) for planned in cases] == clean
        assert torch.is_inference_mode_enabled()


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_what_a_subject_sets_reaches_no_other_case(setting: Any) -> None:
    """One careless subject would decide the verdicts of those that are measured after it."""

    class Careless(toys.Gate):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = super().forward(x)
            setting.write(OTHER[setting.name])
            return y

    before = setting.read()
    careless = replace(toys.SOUND, build=lambda layer, s: toys.gated(layer, s, Careless))
    for planned in some_cases():
        run_case(replace(planned, entry=careless))
        assert setting.read() == before


def test_a_hook_on_every_module_reaches_no_other_case() -> None:
    """A subject that hooks all modules of the process would change the output of each layer after it."""

    def build(layer: nn.Linear, settings: Any) -> Any:
        modules.register_module_forward_hook(lambda module, inputs, output: 2 * output)
        return toys.gated(layer, settings, toys.Gate)

    assert "_global_forward_hooks" in HOOKS
    run_case(replace(some_cases()[0], entry=replace(toys.SOUND, build=build)))
    assert not modules._global_forward_hooks
    assert run_case(some_cases()[0]).outcome is Outcome.AGREE


def test_draws_do_not_depend_on_what_was_drawn_before() -> None:
    """A case would read otherwise alone than after another."""
    drawn = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        with pinned():
            drawn.append((torch.rand(3).tolist(), np.random.rand(3).tolist()))
        assert torch.equal(torch.get_rng_state(), before)
    assert drawn[0] == drawn[1]
