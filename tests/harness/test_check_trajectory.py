"""The check ``trajectory``: what it asks, what it kills, and what it does where a run is not known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from conformance.checks.check import SMALL
from conformance.checks.numbers import trajectory
from conformance.checks.registry import CHECKS
from conformance.measuring.training import EVALUATE_EVERY, REGIMES, STEPS, lessons, train, train_form
from conformance.measuring.trial import Trial
from conformance.nouns.finding import Fault, Outcome
from conformance.nouns.probe import Probe
from conformance.planning.plan import make_plan
from proof.ask import killers
from proof.seeded.faults import trained
from proof.seeded.registry import entry_of
from refs.reference import ClosedForm, Live
from subjects.own.layerwise import HRA
from subjects.own.low_rank import LORA
from subjects.own.roster import ENTRIES

CHECK = next(check for check in CHECKS if check.name == "trajectory")
EXACT = replace(SMALL, state="t0", batch=(8,), training=True)
ALONE = (
    trained.LoRAMakesItsTensorsLate,
    trained.LoRALastBatchOnly,
    trained.LoRAFrozenByAnEvaluation,
    trained.LoRAFoldsWhenEvaluated,
)


def trial(regime: str, entry=LORA, reference: str = "peft:lora", probe: Probe = EXACT) -> Trial:  # type: ignore[no-untyped-def]
    """A case of the check made concrete."""
    found = next(r for r in entry.method.references if r.id == reference)
    return Trial(entry, found, replace(probe, special=regime), "trajectory")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_every_variant_trains_in_every_regime(entry) -> None:  # type: ignore[no-untyped-def]
    """A variant would be called right with no step taken in some regime, or never in bfloat16."""
    asked = make_plan((entry,), (CHECK,))
    assert {p.probe.special for p in asked} == {*REGIMES, trajectory.OVER_SEEDS}
    witnessed = {p.probe.special for p in asked if isinstance(p.reference, ClosedForm)}
    # A closed form that states the start is a witness of the runs over seeds, too.
    assert set(REGIMES) <= witnessed <= {*REGIMES, trajectory.OVER_SEEDS}


@pytest.mark.parametrize("regime", REGIMES)
def test_the_task_can_be_learned(regime: str) -> None:
    """Two sides that stand still agree, too."""
    made = trial(regime)
    course = train(made.subject(), lessons(made, REGIMES[regime]), REGIMES[regime])
    assert len(course.losses) == STEPS
    assert len(course.held_out) == STEPS // EVALUATE_EVERY
    assert course.held_out[-1] < 0.98 * course.held_out[0]
    assert all((values[-1] != values[0]).any() for values in course.tensors.values())
    assert course.frozen
    assert all(course.frozen.values())


def test_clipping_and_decay_have_an_effect() -> None:
    """A regime that is another one in all but its name asks nothing new."""

    def losses(name: str) -> Tensor:
        made = trial("sgd")
        return train(made.subject(), lessons(made, REGIMES[name]), REGIMES[name]).losses

    assert not torch.equal(losses("adamw"), losses("adamw-decay"))
    unclipped = replace(REGIMES["adamw-accumulate-clip"], clip=None)
    made = trial("sgd")
    data = lessons(made, unclipped)
    cut = train(made.subject(), data, REGIMES["adamw-accumulate-clip"]).losses
    assert not torch.equal(cut, train(made.subject(), data, unclipped).losses)


def test_the_closed_form_trains_like_the_layer() -> None:
    """The witness would speak of another training run."""
    made = trial("adamw-accumulate-clip", reference="closed:lora")
    regime = REGIMES["adamw-accumulate-clip"]
    values, data = made.state(made.subject()), lessons(made, regime)
    assert isinstance(made.reference, ClosedForm)
    formula = train_form(made, made.reference, values, data, regime)
    layer = train(made.subject(values=values), data, regime)
    assert torch.allclose(formula.losses, layer.losses, rtol=1e-12, atol=0)
    assert formula.tensors.keys() == layer.tensors.keys()


@pytest.mark.parametrize("wrong", ALONE, ids=lambda wrong: wrong.__name__)
def test_it_kills_what_only_training_shows(wrong: type) -> None:
    """A variant would be CORRECT that is right in each call, and does not learn what its reference learns."""
    seeded = next(s for s in trained.SEEDED_FAULTS if s.variant is wrong)
    others = ("params", "init", "gradients", "forward", "influence", "low_precision", "detach", "checkpoint")
    assert set(killers(entry_of(seeded), (*others, "trajectory"))) == {"trajectory"}


def test_a_start_of_the_wrong_size_shows_over_the_seeds() -> None:
    """From equal tensors a start of another size is never seen."""

    class Loud(LORA.code):  # type: ignore[misc, name-defined]
        def initial(self, layer, statistic):  # type: ignore[no-untyped-def]
            return {"A": 2 * torch.nn.init.kaiming_uniform_(torch.empty(self.config.r, self.d_in), a=5**0.5)}

    from subjects.own.entry import entry_for

    probe = replace(EXACT, dtype="bfloat16", adapter=None, batch=(16,))
    loud = trial(trajectory.OVER_SEEDS, entry=entry_for(Loud, like=LORA), probe=probe)
    assert CHECK.run(loud).outcome is Outcome.DIFFER
    assert CHECK.run(trial(trajectory.OVER_SEEDS, probe=probe)).outcome is Outcome.AGREE


def test_a_run_that_is_not_known_is_the_references_fault() -> None:
    """Gram-Schmidt of a vector and its copy is 0 / 0: whatever follows, a variant cannot be blamed for it."""
    probe = replace(EXACT, options=(("gram_schmidt", True),))
    finding = CHECK.run(trial("adamw", HRA, "peft:hra", probe))
    assert finding.outcome is Outcome.DIFFER
    assert finding.fault is Fault.REFERENCE


def test_the_horizon_ends_where_the_reference_leaves_itself() -> None:
    """Rounding that a chaotic reference blows up would be called a bug, or a bug be excused in a run that is known."""
    tame = trial("sgd")
    values, data = tame.state(tame.reference_subject()), lessons(tame, REGIMES["sgd"])
    want = trajectory._reference_course(tame, None, values, data, REGIMES["sgd"])
    assert trajectory._horizon(tame, None, values, data, REGIMES["sgd"], want) == STEPS
    assert isinstance(tame.reference, Live)
    wild = replace(tame, reference=replace(tame.reference, build=_wild(tame.reference)))
    want = trajectory._reference_course(wild, None, values, data, REGIMES["sgd"])
    assert trajectory._horizon(wild, None, values, data, REGIMES["sgd"], want) < STEPS


def _wild(reference: Live):  # type: ignore[no-untyped-def]
    """The reference with the rounding of its output made 10^9 times larger."""

    def build(layer, settings):  # type: ignore[no-untyped-def]
        subject = reference.build(layer, settings)

        def loud(module, args, y):  # type: ignore[no-untyped-def]
            return y + 1e-9 * (1e16 * y.detach()).sin()

        subject.host.register_forward_hook(loud)
        return subject

    return build
