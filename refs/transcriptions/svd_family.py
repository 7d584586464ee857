"""What the SVD-steering variants share: factors, gain, selection by data, orientation by covariance.

    factors      W = U diag(S) Vh (S descending);  kept: r triplets;  W_res = W - U diag(S) Vh
    gain         E(z) = 1 + ELU(z): 1 + z above 0, exp(z) below;  E(0) = 1, slope 1 on both sides
                 S E(coeff g), with ``suppress_only`` S E(coeff min(g, 0)): clamped before the product
    selection    score_i = S_i pool_n(x_n . Vh_i) over the full spectrum of W, pool = rms or mean of |.|, not centred;
                 the r highest (ties: the lower index), put back in ascending order, so that S stays descending
    orientation  C = sum_n x_n x_n^T / N over the kept rows (not centred), eigenvalues max(., 0) + eps,
                 W C^(1/2) = U diag(S) Vt,  P = Vt_r C^(-1/2) in Vh's place, so U diag(S) P is exact at full rank

    U: (d_out, r)   S: (r,)   Vh, P: (r, d_in)   inputs: (N, d_in)   mask: (N,)

With tensors stored in bfloat16, W_res is what the unrounded factors leave, except in antipasto_corda: there it is what
the stored, rounded ones leave. The start by calibration sees W as rebuilt from the plain start's stored tensors.

Source: arXiv 2601.07473; https://github.com/wassname/lora-lite at 09dcfe0d: src/lora_lite/variants/antipasto*.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import elu

from refs.subject import AS_IS
from refs.transcriptions.transcription import Named

FACTORS: Mapping[str, Named] = {"U": ("lora_U", AS_IS), "S": ("lora_S", AS_IS), "Vh": ("lora_Vh", AS_IS)}
GAIN: Mapping[str, Named] = {"g": ("lora_g", AS_IS)}


def product(U: Tensor, S: Tensor, Vh: Tensor) -> Tensor:
    """U diag(S) Vh."""
    return (U * S) @ Vh


def kept(W: Tensor, indices: Sequence[int]) -> dict[str, Tensor]:
    """U, S, Vh of these singular triplets of W, and the W_res that they leave."""
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    chosen = list(indices)
    U, S, Vh = U[:, chosen], S[chosen], Vh[chosen]
    return {"U": U, "S": S, "Vh": Vh, "W_res": W - product(U, S, Vh)}


def selected(W: Tensor, r: int, inputs: Tensor | None, pool: str) -> dict[str, Tensor]:
    """The r triplets that the inputs excite most; the r largest without inputs."""
    indices = range(r) if inputs is None else highest(scores(W, inputs, pool), r)
    return kept(W, indices)


def scores(W: Tensor, inputs: Tensor, pool: str) -> Tensor:
    """How strongly the inputs excite each singular direction of W, in the order of the spectrum."""
    _, S, Vh = torch.linalg.svd(W, full_matrices=False)
    coordinates: Tensor = S * (inputs @ Vh.T)
    if pool == "rms":
        return coordinates.square().mean(dim=0).sqrt()
    if pool == "mean_abs":
        return coordinates.abs().mean(dim=0)
    raise ValueError(f"got pool {pool!r}, want rms or mean_abs")


def highest(scores: Tensor, count: int) -> list[int]:
    """Indices of the highest scores, ascending; of equal scores the lower index wins."""
    order = torch.argsort(scores, descending=True, stable=True)
    return sorted(order[:count].tolist())


def covariance(inputs: Tensor, eps: float, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """C^(1/2) and C^(-1/2). Rows of ``inputs`` where the mask is 0 count neither in the sum nor in N."""
    rows = inputs if mask is None else inputs[mask.bool()]
    values, vectors = torch.linalg.eigh(rows.T @ rows / rows.shape[0])
    root = (values.clamp(min=0) + eps).sqrt()
    return (vectors * root) @ vectors.T, (vectors / root) @ vectors.T


def oriented(W: Tensor, r: int, inputs: Tensor, eps: float, mask: Tensor | None = None) -> dict[str, Tensor]:
    """U, S, P of W in the metric of the inputs' covariance, and the W_res that they leave."""
    root, inverse_root = covariance(inputs, eps, mask)
    U, S, Vt = torch.linalg.svd(W @ root, full_matrices=False)
    U, S, P = U[:, :r], S[:r], Vt[:r] @ inverse_root
    return {"U": U, "S": S, "P": P, "W_res": W - product(U, S, P)}


def gain(g: Tensor, coeff: float, suppress_only: bool) -> Tensor:
    """E(coeff g), always positive, 1 at g = 0. At exactly 0 the gradient passes a clamp."""
    return 1 + elu(coeff * (g.clamp(max=0) if suppress_only else g))
