"""Where two tensors meet: what counts as equal, where the worst place is, and how much was compared."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from conformance.measuring.compare import EXACT_K, ROUNDED_K, close, conclude, holds, same
from conformance.nouns.finding import Outcome

F64 = torch.float64
EPS = torch.finfo(F64).eps


def ones(*shape: int, dtype: torch.dtype = F64) -> Tensor:
    """A tensor with nothing special about it."""
    return torch.ones(shape, dtype=dtype)


def test_equal_tensors_agree_and_every_number_is_counted() -> None:
    """A comparison would not say how much it compared."""
    found = close(ones(3, 4), ones(3, 4), "y")
    assert (found.agrees, found.n, found.error) == (True, 12, 0.0)


@pytest.mark.parametrize(("inside", "agrees"), [(True, True), (False, False)])
def test_the_limit_is_exact(inside: bool, agrees: bool) -> None:
    """The stated limit would not be the limit: one spacing more or less than it would not decide."""
    want = torch.tensor([1.0, 0.5], dtype=F64)
    limit = EXACT_K * EPS
    assert (1.0 + limit) - 1.0 == limit
    got = want + torch.tensor([limit if inside else limit + EPS, 0.0], dtype=F64)
    found = close(got, want, "y")
    assert found.limit == limit
    assert found.agrees is agrees


def test_the_scale_is_the_largest_wanted_number_and_not_the_largest_got() -> None:
    """A subject that explodes would widen its own limit."""
    assert close(torch.tensor([1e9], dtype=F64), ones(1), "y").limit == EXACT_K * EPS
    assert close(torch.tensor([1e9], dtype=F64), 1e9 * ones(1), "y").limit == pytest.approx(EXACT_K * EPS * 1e9)


def test_a_scale_of_zero_means_exactly_equal() -> None:
    """A constant initial value that is nearly right would pass."""
    assert close(ones(2), ones(2), "g", scale=0.0).agrees
    assert not close(ones(2) + EPS, ones(2), "g", scale=0.0).agrees


def test_anything_beside_zero_wants_zero_exactly() -> None:
    """A reference that is all zero would have a limit above zero."""
    assert not close(1e-300 * ones(2), 0 * ones(2), "B").agrees


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_low_precision_limit_is_not_wider_than_the_numbers(dtype: torch.dtype) -> None:
    """The float64 factor of 4096 roundings would let anything pass in bfloat16."""
    found = close(1.3 * ones(4, dtype=dtype), ones(4, dtype=dtype), "W")
    assert found.limit == ROUNDED_K * torch.finfo(dtype).eps
    assert not found.agrees


@pytest.mark.parametrize("place", [0, 7, 23])
def test_the_worst_place_is_found(place: int) -> None:
    """A message would send the reader to the wrong number."""
    want = torch.arange(24, dtype=F64).reshape(2, 3, 4)
    got = want.clone()
    got.view(-1)[3] += 0.25
    got.view(-1)[place] += 0.5
    found = close(got, want, "y")
    index = tuple(int(i) for i in torch.unravel_index(torch.tensor(place), want.shape))
    assert found.where == str(list(index))
    assert (float(found.got), float(found.want)) == (got[index].item(), want[index].item())
    assert found.error == 0.5


def test_the_worst_place_of_a_tensor_that_is_not_contiguous() -> None:
    """The place would be counted in memory and not in the tensor."""
    want = torch.arange(6, dtype=F64).reshape(2, 3)
    got = want.t().clone().t()
    got[1, 0] += 1
    assert close(got, want, "y").where == "[1, 0]"


@pytest.mark.parametrize(
    ("got", "want", "what"),
    [
        (ones(3, 4), ones(4, 3), "y: shape"),
        (ones(1, 4), ones(4), "y: shape"),
        (ones(4), ones(1), "y: shape"),
        (ones(4, dtype=torch.float32), ones(4), "y: dtype"),
        (ones(0, 3), ones(0, 4), "y: shape"),
    ],
)
def test_another_shape_or_dtype_differs(got: Tensor, want: Tensor, what: str) -> None:
    """Broadcasting or casting would hide a wrong output."""
    found = close(got, want, "y")
    assert (str(found.compared), found.agrees) == (what, False)


@pytest.mark.parametrize(("got", "want"), [(None, ones(2)), (ones(2), None)])
def test_a_missing_tensor_differs(got: Tensor | None, want: Tensor | None) -> None:
    """A gradient that is not there would pass for any."""
    assert not close(got, want, "gradient").agrees


def test_empty_tensors_compare_nothing() -> None:
    """Two empty outputs would count as proof."""
    found = close(ones(0, 4), ones(0, 4), "y")
    assert (found.n, found.agrees) == (0, True)
    assert conclude("case", [found]).n_compared == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_differs_from_one_that_is(bad: float) -> None:
    """NaN compares false with everything, so a comparison the wrong way round would let it pass."""
    broken = torch.tensor([1.0, bad], dtype=F64)
    for got, want in ((broken, ones(2)), (ones(2), broken)):
        found = close(got, want, "y")
        assert (found.agrees, found.where, found.error) == (False, "[1]", math.inf)


def test_nan_agrees_with_nan_at_the_same_place_only_and_is_not_counted() -> None:
    """NaN on both sides would count as a number that was compared."""
    nan = torch.tensor([math.nan, 2.0, 3.0], dtype=F64)
    found = close(nan, nan.clone(), "y")
    assert (found.agrees, found.n, found.nans) == (True, 2, 1)
    assert not close(nan, nan.flip(0), "y").agrees
    assert conclude("case", [found]).nans == 1


def test_all_nan_compares_nothing() -> None:
    """A subject and a reference that are both broken would agree."""
    nan = torch.full((3,), math.nan, dtype=F64)
    assert conclude("case", [close(nan, nan, "y")]).n_compared == 0


def test_infinities_agree_with_themselves_and_do_not_widen_the_limit() -> None:
    """One infinity in the reference would make every limit infinite."""
    want = torch.tensor([math.inf, 1.0], dtype=F64)
    assert close(want, want.clone(), "y").agrees
    assert not close(torch.tensor([-math.inf, 1.0], dtype=F64), want, "y").agrees
    found = close(torch.tensor([math.inf, 1.1], dtype=F64), want, "y")
    assert (found.agrees, found.limit) == (False, EXACT_K * EPS)


def test_one_difference_among_many_agreements_differs() -> None:
    """An aggregate would keep the first or the last comparison only."""
    fine, wrong = close(ones(5), ones(5), "y"), close(2 * ones(3), ones(3), "grad")
    for order in ([wrong, fine, fine], [fine, fine, wrong]):
        found = conclude("case", order)
        assert (found.outcome, found.what) == (Outcome.DIFFER, "grad")
        assert found.n_compared == 5 * 2 + 3


def test_everything_that_was_asked_and_everything_that_differs_is_named() -> None:
    """A declared deviation of one thing, or a witness to one thing, could cover another that differs beside it."""
    comparisons = [same(1, 2, "flag"), close(ones(1), ones(1), "y"), close(2 * ones(1), ones(1), "grad")]
    found = conclude("case", comparisons)
    assert ([thing.name for thing in found.differing], [thing.name for thing in found.asked]) == (
        ["flag", "grad"],
        ["flag", "grad", "y"],
    )


def test_the_worst_of_several_differences_is_told() -> None:
    """A message would tell the mildest of the differences."""
    mild, bad = close(ones(1) * 1.1, ones(1), "mild"), close(ones(1) * 9, ones(1), "bad")
    assert conclude("case", [mild, bad, mild]).what == "bad"
    told = conclude("case", [mild, same(1, 2, "flag"), bad])
    assert (told.what, told.others) == ("bad", ("mild", "flag"))  # numbers first, the largest of them first


def test_an_agreement_tells_its_tightest_squeeze() -> None:
    """The raw evidence would not show how near to its limit an agreement was."""
    tight = close(ones(1) + 100 * EPS, ones(1), "tight")
    found = conclude("case", [close(ones(1), ones(1), "exact"), tight])
    assert (found.outcome, found.what) == (Outcome.AGREE, "tight")


def test_nothing_at_all_is_an_agreement_over_zero_numbers() -> None:
    """A check that made no comparison would look like one that compared something."""
    found = conclude("case", [])
    assert (found.outcome, found.n_compared) == (Outcome.AGREE, 0)


def test_a_statement_that_does_not_hold_differs() -> None:
    """The boolean of a statement would be dropped, so that nothing is asserted."""
    assert not holds(False, "what", "got", "want").agrees
    assert conclude("case", [holds(True, "a", "", ""), holds(False, "b", "", "")]).outcome is Outcome.DIFFER


def test_an_infinite_error_survives_json() -> None:
    """The evidence of an infinite error could not be read back by a strict reader."""
    found = conclude("case", [close(ones(1) * math.inf, ones(1), "y")])
    assert math.isfinite(found.error)
    assert math.isfinite(found.limit)
