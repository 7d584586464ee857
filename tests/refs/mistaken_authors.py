"""LoRA, IA3, ROAD and EVA with one mistake each."""

from __future__ import annotations

import torch
from mistake import Mistake, moved, other_config, other_tensors, vectors_of, with_bias
from torch import Tensor

from refs.golden_vectors import Vector
from refs.reproduce import eva as reproduced
from refs.reproduce.distance import Distance, as_recorded
from refs.transcriptions.eva import Principal
from refs.transcriptions.ia3 import feed_forward

ROAD = ("road_1", "road_2", "road_4")


class Uncentred(Principal):
    """The plain singular value decomposition of all rows so far."""

    def step(self, X: Tensor, tau: float, test_matrix: Tensor | None = None) -> Principal:
        stack = torch.cat([self.S[:, None] * self.V, X]) if self.count else X
        _, S, V = torch.linalg.svd(stack, full_matrices=False)
        V = V * V.gather(1, V.abs().argmax(dim=1, keepdim=True)).sign()
        kept = (False,) * self.n
        return Uncentred(self.n, V[: self.n], S[: self.n], X.mean(dim=0), X.var(dim=0), self.count + len(X), kept)


class WithoutTheMeansRow(Principal):
    """Each batch is centred, and what its mean moved is forgotten."""

    def step(self, X: Tensor, tau: float, test_matrix: Tensor | None = None) -> Principal:
        same = X - X.mean(dim=0) + (self.mean if self.count else X.mean(dim=0))
        return super().step(same, tau, test_matrix)


def gate_left_out(vector: Vector) -> list[Distance]:
    """The block without its gate."""
    t = {name: tensor.double() for name, tensor in vector.tensors.items()}
    weights = (t[f"{name}.weight"] for name in ("wi_0", "wi_1", "wo"))
    ones = torch.ones_like(t["wi_1.multi_lora_b"]).reshape(-1)
    return [as_recorded(vector, "y", feed_forward(t["x"], *weights, ones, on_input=True))]


AUTHORS: tuple[Mistake, ...] = (
    Mistake("lora_not_scaled", moved(vectors_of("lora_linear", r=(3, 4, 8))), other_config(rounded=1.0)),
    Mistake(
        "lora_scaled_by_the_root_of_r",
        moved(vectors_of("lora_linear", r=(3, 4, 8))),
        lambda v: other_config(rounded=v.config["lora_alpha"] / v.config["r"] ** 0.5)(v),
    ),
    Mistake(
        "ia3_gate_on_the_other_side",
        moved(vectors_of("ia3_input_side", "ia3_both_sides")),
        other_tensors(lambda t: {"a": torch.ones_like(t["a"])}),
    ),
    Mistake("ia3_bias_not_gated", moved(vectors_of("ia3_projection", bias=True)), with_bias),
    Mistake("ia3_feed_forward_without_gate", moved(vectors_of("ia3_ff_gate")), gate_left_out),
    Mistake("road_turned_back", moved(vectors_of(*ROAD)), other_tensors(lambda t: {"theta": -t["theta"]})),
    Mistake(
        "road_bias_not_turned",
        moved(vectors_of(*ROAD, bias=True)),
        with_bias,
    ),
    Mistake(
        "road_one_scale_for_both_terms",
        moved(vectors_of("road_4", "road_4_before")),
        other_tensors(lambda t: {"alpha": t["alpha"][:1].expand(2, -1)}),
    ),
    Mistake(
        "eva_not_centred",
        lambda v: vectors_of("eva_svd_hook")(v) and v.config["mean_scale"] > 0,
        lambda v: reproduced.decomposition(v, Uncentred),
    ),
    Mistake(
        "eva_without_the_row_of_means",
        lambda v: vectors_of("eva_svd_hook")(v) and v.config["mean_scale"] > 0 and v.config["n_batches"] > 1,
        lambda v: reproduced.decomposition(v, WithoutTheMeansRow),
    ),
    Mistake(
        "eva_whitened_once",
        lambda v: vectors_of("eva_compute_svd", whiten=True)(v) and {"A.a", "A.b"} <= v.tensors.keys(),
        lambda v: reproduced.search(v, in_place=False),
    ),
    Mistake(
        "eva_scaled_by_r",
        lambda v: vectors_of("eva_adapter")(v) and len(set(v.config["ranks"])) > 1,
        lambda v: reproduced.adapter(v, scale=lambda alpha, rank: alpha / max(v.config["ranks"])),
    ),
)
