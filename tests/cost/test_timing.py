"""How times are taken: in turns, on a clock that the test sets, with quartiles."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from conformance.cost import timing
from conformance.cost.measure import timed
from conformance.cost.points import COUNTED, GROWTH, RANKS, TINY, Point
from conformance.cost.subjects import Contender, contenders, input_at, layer_at, merged, variant
from conformance.cost.timing import FEW, ROUNDS, Spread, above, alternating, interleaved, ratio
from refs.subject import Subject
from subjects.own.roster import ENTRIES
from tests.harness import toys

X = torch.zeros(2, 4, requires_grad=True)


class Taking(nn.Module):
    """A layer that takes so many seconds forward, on a clock of its own, and says when it is called."""

    def __init__(self, name: str, clock: list[float], seconds: float, log: list[str]) -> None:
        super().__init__()
        self.name, self.clock, self.seconds, self.log = name, clock, seconds, log

    def forward(self, x: Tensor) -> Tensor:
        self.clock[0] += self.seconds
        self.log.append(
            self.name + ("" if self.training else " eval") + (" free" if torch.is_inference_mode_enabled() else "")
        )
        return 2 * x


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds, moved by the layers alone, and by a nanosecond whenever anybody looks."""
    now = [0.0]

    def look() -> float:
        now[0] += 1e-9
        return now[0]

    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=look))
    return now


def sides(clock: list[float], log: list[str], **seconds: float) -> dict[str, Subject]:
    """A side per name."""
    linear = nn.Linear(1, 1)
    return {name: Subject(Taking(name, clock, taken, log), linear) for name, taken in seconds.items()}


def test_the_sides_take_turns(clock: list[float]) -> None:
    """One side would be asked while the machine is busy, and the other while it is not."""
    log: list[str] = []
    taken = interleaved(sides(clock, log, bare=0.1, ours=0.2), X)
    rounds = log[-2 * ROUNDS :]
    pairs = list(zip(rounds[::2], rounds[1::2], strict=True))
    assert {frozenset(pair) for pair in pairs} == {frozenset({"bare", "ours"})}
    assert set(pairs) == {("bare", "ours"), ("ours", "bare")}, "neither always comes first"
    assert [len(passes.forward) for passes in taken.values()] == [ROUNDS, ROUNDS]
    found = ratio(taken["ours"].forward, taken["bare"].forward)
    assert found.median == pytest.approx(2, rel=1e-6)
    assert above(taken["ours"].both, taken["bare"].both).median == pytest.approx(1e5, rel=1e-3)


def test_a_short_call_is_repeated_and_a_long_one_is_not(clock: list[float]) -> None:
    """A call below the clock's resolution would be timed alone, or one of minutes a hundred times."""
    log: list[str] = []
    taken = interleaved(sides(clock, log, short=1e-4, long=3.0), X)
    assert log.count("long") == FEW + 1
    assert log.count("short") > ROUNDS * 20
    assert len(taken["long"].forward) == FEW
    assert taken["short"].forward[0] == pytest.approx(1e-4, rel=1e-3)
    assert ratio(taken["long"].both, taken["short"].both).rounds == FEW


def test_decoding_asks_for_no_gradients(clock: list[float]) -> None:
    """Decoding would be timed in training mode, or with a backward that nobody wants."""
    log: list[str] = []
    taken = interleaved(sides(clock, log, ours=0.1), X.detach(), decode=True)
    assert set(log) == {"ours eval free"}
    assert set(taken["ours"].backward) == {0.0}


def test_quartiles_by_hand() -> None:
    """The spread that is shown would be another one."""
    assert Spread.of([5, 1, 2, 3, 4]) == Spread(2, 3, 4, 5)
    with pytest.raises(ValueError, match="got 1 values, want at least 2"):
        Spread.of([1.0])


def test_gradients_are_of_one_call_alone() -> None:
    """Adding to the gradients of the call before would be timed, too."""
    linear = nn.Linear(4, 4)
    interleaved({"ours": Subject(linear, linear)}, X)
    assert linear.weight.grad is not None
    once = linear.weight.grad.clone()
    linear.weight.grad = None
    linear(X).backward(torch.ones(2, 4))
    torch.testing.assert_close(once, linear.weight.grad)


def test_one_contender_from_end_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A side would be left out, or a rival be timed that is none of peft's."""
    monkeypatch.setattr(timing, "SAMPLE", 1e-6)
    found = timed(Contender("sound", toys.SOUND), TINY, of=above)
    assert found.peft is not None
    assert found.to_peft is not None
    assert found.ours.backward is not None
    assert found.bare.low > 0
    assert found.ours.both.rounds == ROUNDS
    decoded = timed(Contender("sound", toys.SOUND), Point(8, 1), decode=True)
    assert decoded.ours.backward is None
    assert decoded.merged is None, "the toy cannot be merged"


def test_whole_calls_take_turns(clock: list[float]) -> None:
    """The steps of a whole model would be timed one side after the other, or the first, cold ones among them."""
    log: list[str] = []
    layers = {name: Taking(name, clock, taken, log) for name, taken in (("bare", 0.1), ("ours", 0.2))}
    taken = alternating({name: lambda layer=layer: layer(X) for name, layer in layers.items()}, "cpu")  # type: ignore[misc]
    assert {name: len(rows) for name, rows in taken.items()} == {"bare": ROUNDS, "ours": ROUNDS}
    assert {frozenset(pair) for pair in zip(log[-2 * ROUNDS :: 2], log[-2 * ROUNDS + 1 :: 2], strict=True)} == {
        frozenset({"bare", "ours"})
    }
    assert ratio(taken["ours"], taken["bare"]).median == pytest.approx(2, rel=1e-6)


def test_a_merged_layer_decodes_as_the_variant_and_with_no_hook() -> None:
    """The column would show the bare layer, or a layer that still has its adapter's hook."""
    point = Point(64, 1, r=4)
    for contender in contenders(ENTRIES):
        torch.manual_seed(0)
        subject = variant(contender, point)
        torch.manual_seed(0)
        folded = merged(contender, point)
        assert folded is not None
        subject.train(False)
        layer = folded.base
        assert not layer._forward_hooks, contender.name
        assert not layer._forward_pre_hooks, contender.name
        x = input_at(point).detach()
        torch.testing.assert_close(folded(x), subject(x), atol=1e-4, rtol=1e-4)
        assert not torch.allclose(folded(x), layer_at(point)(x), atol=1e-4), contender.name


@pytest.mark.parametrize("r", sorted({point.r for point in (*GROWTH["r"], *RANKS)}))
def test_every_rank_suits_every_variant(r: int) -> None:
    """A measurement of minutes would end in an error message and nothing."""
    for contender in contenders(ENTRIES):
        subject = variant(contender, Point(64, 8, r=r))
        assert subject(input_at(Point(64, 8, r=r))).shape == (8, 64), contender.name


def test_the_gated_point_tells_sizes_apart() -> None:
    """An activation could be taken for a weight."""
    assert COUNTED.tokens != COUNTED.d
    assert COUNTED.r not in (COUNTED.tokens, COUNTED.d)
