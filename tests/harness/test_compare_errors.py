"""Low precision: the subject's error beside the reference's own, both against float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from conformance.measuring.compare import BARE_EPS_SHARE, FEW, LOW_PRECISION_FACTOR, no_less_exact

BF16 = torch.bfloat16


def truth(n: int = 400) -> Tensor:
    """Numbers between 1 and 2 that bfloat16 has to round."""
    return 1 + torch.arange(n, dtype=torch.float64) / n


def off(by: float, n: int = 400) -> Tensor:
    """The truth off by a share of itself and then rounded."""
    return (truth(n) * (1 + by)).to(BF16)


def size(t: Tensor) -> float:
    """Root mean square."""
    return t.square().mean().sqrt().item()


def test_the_reference_is_no_less_exact_than_itself() -> None:
    """The rule would refuse its own reference."""
    found = no_less_exact(off(0), off(0), truth(), "y")
    assert (found.agrees, found.n) == (True, 400)


def test_a_subject_nearer_to_the_truth_agrees() -> None:
    """A better subject would be called wrong."""
    assert no_less_exact(off(0), off(0.05), truth(), "y").agrees


def test_a_subject_further_from_the_truth_differs() -> None:
    """A subject that rounds too early would pass because low precision forgives everything."""
    assert not no_less_exact(off(0.01), off(0), truth(), "y").agrees


def test_the_limit_is_the_stated_one() -> None:
    """The two constants would not be what decides."""
    found = no_less_exact(off(0.01), off(0), truth(), "y")
    own = size(off(0).double() - truth())
    scatter = FEW / 400**0.5
    share = (BARE_EPS_SHARE + scatter) * torch.finfo(BF16).eps
    assert found.limit == pytest.approx((LOW_PRECISION_FACTOR + scatter) * own + share * size(truth()))
    assert found.error == pytest.approx(size(off(0.01).double() - truth()))


def test_another_dtype_differs_even_when_it_is_better() -> None:
    """A subject that silently answers in float32 would pass for being more exact."""
    found = no_less_exact(off(0).float(), off(0), truth(), "y")
    assert (found.agrees, str(found.compared)) == (False, "y: dtype")


def test_another_shape_differs() -> None:
    """An output of another shape would be broadcast against the truth."""
    assert not no_less_exact(off(0)[:1], off(0), truth(), "y").agrees


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_differs_from_one_that_is(bad: float) -> None:
    """One NaN or overflow on either side would make every error comparison true or meaningless."""
    broken = off(0)
    broken[7] = bad
    assert not no_less_exact(broken, off(0), truth(), "y").agrees


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_subject_may_be_right_where_the_reference_is_not_finite(bad: float) -> None:
    """A subject that overflows later than the reference would be called wrong, and any number there would be right."""
    broken, elsewhere = off(0), off(0)
    broken[7] = elsewhere[8] = bad
    found = no_less_exact(off(0), broken, truth(), "y")
    assert (found.agrees, found.n, found.nans) == (True, 400, 0)
    assert not no_less_exact(elsewhere, broken, truth(), "y").agrees
    wrong = off(0)
    wrong[7] = 100
    assert not no_less_exact(wrong, broken, truth(), "y").agrees
    assert no_less_exact(off(0), torch.full_like(broken, bad), truth(), "y").agrees
    assert not no_less_exact(off(0.5), torch.full_like(broken, bad), truth(), "y").agrees


def test_nan_on_both_sides_is_reported_and_the_rest_is_still_compared() -> None:
    """One shared NaN would excuse every other number."""
    want = off(0)
    want[7] = math.nan
    found = no_less_exact(want.clone(), want, truth(), "y")
    assert (found.agrees, found.n, found.nans) == (True, 399, 1)
    wrong = off(0.5)
    wrong[7] = math.nan
    assert not no_less_exact(wrong, want, truth(), "y").agrees


def test_an_overflow_on_both_sides_does_not_excuse_the_rest() -> None:
    """A reference with an infinite error would have an infinite limit."""
    want, wrong = off(0), off(0.5)
    want[3] = wrong[3] = math.inf
    assert not no_less_exact(wrong, want, truth(), "y").agrees
    wrong = off(0)
    wrong[3] = -math.inf
    assert not no_less_exact(wrong, want, truth(), "y").agrees


def test_nothing_but_nan_compares_nothing() -> None:
    """Two broken sides would agree over a number that nobody compared."""
    nan = torch.full((5,), math.nan, dtype=BF16)
    found = no_less_exact(nan, nan, truth(5), "y")
    assert (found.n, found.nans) == (0, 5)


def test_a_truth_that_is_nan_proves_nothing() -> None:
    """A float64 result that failed would make both errors NaN and so equal."""
    unknown = truth()
    unknown[0] = math.nan
    assert not no_less_exact(off(0), off(0), unknown, "y").agrees


def test_empty_tensors_compare_nothing() -> None:
    """Two empty outputs would count as proof."""
    empty = torch.empty(0, dtype=BF16)
    assert no_less_exact(empty, empty, empty.double(), "y").n == 0
