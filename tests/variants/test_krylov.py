"""The top of a spectrum by block Krylov: as exact as all of the decomposition, or left to it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.variants.eva_inputs import sine
from variants import EVAConfig, PiSSAConfig, attach
from variants.runtime.numerics import krylov
from variants.runtime.numerics.krylov import top_eigh, top_svd

R = 4
N = 640
STEPS = torch.arange(1, N + 1, dtype=torch.float64)
TELLING: dict[str, Tensor] = {
    "power law": 1 / STEPS,
    "slow power law": STEPS**-0.5,
    "exponential": torch.exp(-STEPS / 10),
    "spiked": torch.cat((torch.linspace(10, 5, R).double(), torch.linspace(1, 0.1, N - R).double())),
    "clusters": torch.tensor([4.0] * 2 + [3.0] * 2 + [1.0] * 6 + [0.1] * (N - 10), dtype=torch.float64),
}
FLAT: dict[str, Tensor] = {
    "equal": torch.ones(N, dtype=torch.float64),
    "nearly equal": torch.linspace(1, 0.95, N).double(),
    "cut through a cluster": torch.tensor([4.0] * 2 + [3.0] * 30 + [0.1] * (N - 32), dtype=torch.float64),
}


def with_spectrum(S: Tensor, d_in: int = N) -> tuple[Tensor, Tensor, Tensor]:
    """U, V and ``U diag(S) V^T: (N, d_in)``, in float64."""
    U, V = (torch.linalg.qr(torch.randn(n, N, dtype=torch.float64)).Q for n in (N, d_in))
    return U, V, (U * S) @ V.T


@pytest.mark.parametrize("spectrum", TELLING)
@pytest.mark.parametrize("d_in", [N, N + 200])
def test_as_exact_as_the_whole_decomposition(spectrum: str, d_in: int) -> None:
    """Otherwise quick initial values would be other initial values."""
    U, V, W = with_spectrum(TELLING[spectrum], d_in)
    u, S, vh = top_svd(W.float(), R)
    assert [*u.shape, *vh.shape] == [N, R, R, d_in]
    assert sine(u.T, U[:, :R].T) <= 1e-5
    assert sine(vh, V[:, :R].T) <= 1e-5
    assert (S.double() - TELLING[spectrum][:R]).abs().max() <= 3e-6 * S[0]
    assert (W.double() @ vh.double().T - u.double() * S).norm() <= 1e-5 * S[0]


@pytest.mark.parametrize("d_in", [N, N + 200])
def test_columns_that_the_space_holds_already(d_in: int) -> None:
    """Otherwise rounding, made to unit vectors, would come into the space and turn some weights' directions."""
    for _ in range(10):
        U, V, W = with_spectrum(TELLING["clusters"], d_in)
        found = krylov.krylov(W.float(), R)
        assert found is not None
        assert sine(found[0].T, U[:, :R].T) <= 3e-6
        assert sine(found[2], V[:, :R].T) <= 3e-6


def test_most_telling_spectra_need_no_whole_decomposition() -> None:
    """Otherwise nothing would be quick. One that has nearly settled may be left to the whole decomposition: on which
    side of the limit it comes out depends on the CPU's rounding.
    """
    settled = [krylov.krylov(with_spectrum(S, d_in)[2].float(), R) for S in TELLING.values() for d_in in (N, N + 200)]
    assert sum(found is not None for found in settled) >= 7


@pytest.mark.parametrize("spectrum", FLAT)
def test_flat_spectra_are_left_to_the_whole_decomposition(spectrum: str) -> None:
    """Otherwise directions that have not settled would be passed off as principal."""
    _, _, W = with_spectrum(FLAT[spectrum])
    W = W.float()
    assert krylov.krylov(W, R) is None
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    for own, other in zip(top_svd(W, R), (U[:, :R], S[:R], Vh[:R])):
        assert torch.equal(own, other)


def test_small_and_float64_weights_are_decomposed_as_a_whole() -> None:
    """Otherwise small layers would start elsewhere than the reference, and float64 weights lose digits."""
    _, _, W = with_spectrum(TELLING["power law"])
    assert torch.equal(top_svd(W, R)[0], torch.linalg.svd(W, full_matrices=False)[0][:, :R])
    small = torch.randn(100, 90)
    assert torch.equal(top_svd(small, R)[1], torch.linalg.svd(small, full_matrices=False)[1][:R])
    assert krylov.krylov(small, R) is None


def test_random_numbers_are_its_own() -> None:
    """Otherwise a seed would mean something else for a layer of another width, and two runs not be equal."""
    _, _, W = with_spectrum(TELLING["power law"])
    state = torch.get_rng_state()
    first, second = top_svd(W.float(), R), top_svd(W.float(), R)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first, second))


def test_eigenvectors_of_a_covariance() -> None:
    """Otherwise EVA's directions would be other ones in wide layers."""
    U, _, _ = with_spectrum(TELLING["power law"])
    C = (U * TELLING["power law"]) @ U.T
    assert krylov.krylov(C, R) is not None
    values, V = top_eigh(C, R)
    assert sine(V, U[:, :R].T) <= 1e-7
    torch.testing.assert_close(values, TELLING["power law"][:R], rtol=1e-12, atol=0)
    torch.testing.assert_close(V @ V.T, torch.eye(R).double(), rtol=0, atol=1e-13)
    few = torch.linalg.eigh(C[:50, :50])
    torch.testing.assert_close(top_eigh(C[:50, :50], R)[0], few.eigenvalues.flip(0)[:R])


def _pissa(layer: nn.Linear) -> Tensor:
    A: Tensor = attach(layer, PiSSAConfig(r=R)).layers[""].A  # type: ignore[assignment]
    return A.detach()


def _eva(layer: nn.Linear) -> Tensor:
    rows = layer.weight.detach().clone()  # rows that vary as W does, up to their mean
    A: Tensor = attach(layer, EVAConfig(r=R, rho=1), calibration=[rows]).layers[""].A  # type: ignore[assignment]
    return A.detach()


@pytest.mark.parametrize("start", [_pissa, _eva])
def test_wide_layers_start_where_the_whole_decomposition_says(start: Callable[[nn.Linear], Tensor]) -> None:
    """Otherwise the quick way would not be taken, or not lead there."""
    _, _, W = with_spectrum(TELLING["slow power law"])
    layer = nn.Linear(N, N)
    with torch.no_grad():
        layer.weight.copy_(W)
    centred = W - W.mean(dim=0) if start is _eva else W
    want = torch.linalg.svd(centred).Vh[:R]
    whole = torch.linalg.svd
    try:
        torch.linalg.svd = _refusing(whole)  # type: ignore[assignment]
        got = start(layer)
    finally:
        torch.linalg.svd = whole
    assert sine(got, want) <= 1e-5


def _refusing(svd: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def small_only(M: Tensor, *args: object, **options: object) -> Tensor:
        assert min(M.shape) < N, "the whole weight was decomposed"
        return svd(M, *args, **options)

    return small_only
