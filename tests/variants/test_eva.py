"""EVA: LoRA that starts on the principal directions of its inputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from refs.methods.eva import METHOD, eva_components
from tests.runtime.models import Mlp, refused
from tests.variants.beside_peft import assert_equals_peft, both, flow, linear
from tests.variants.eva_inputs import D, R, batches, decaying, pca, sine, start, with_gap
from variants import AdapterError, EVAConfig, Targets, attach, config_for
from variants.eva import Inputs


@pytest.mark.parametrize(
    ("options", "shape", "batch"),
    [({}, {}, (5,)), ({"rslora": True}, {"bias": False}, (2, 3)), ({"dropout": 0.25}, {"d_in": 20, "d_out": 12}, ())],
)
@pytest.mark.parametrize("training", [False, True])
def test_equals_peft(options: dict[str, Any], shape: dict[str, Any], batch: tuple[int, ...], training: bool) -> None:
    """Otherwise the layer would compute, or learn, something else than peft's."""
    config = EVAConfig(r=4, alpha=6.0, dtype="float64", **options)
    layer = linear(**shape)
    rows = [torch.randn(30, layer.in_features).double()]
    assert_equals_peft(METHOD, config, layer, batch, training=training, calibration=rows)


def test_first_gradients() -> None:
    """Otherwise A would be frozen, or B not start at zero."""
    rows = [torch.randn(30, 12).double()]
    subject, reference = both(METHOD, EVAConfig(r=4, dtype="float64"), linear(), rows)
    assert flow(subject) == flow(reference) == {"A": "dead", "B": "live"}


@pytest.mark.parametrize("mean", [0.0, 30.0, 1000.0])
def test_directions_are_those_of_the_pooled_centred_inputs(mean: float) -> None:
    """Otherwise the mean, which activations have, would be taken for the main direction, or eat up the digits."""
    rows = batches(decaying(), 16, mean)
    A = start(rows)
    exact, _ = pca(rows)
    assert sine(A, exact) <= 1e-5
    assert torch.equal(A, start(rows))
    torch.testing.assert_close(A @ A.T, torch.eye(R), rtol=0, atol=1e-6)
    largest = A.gather(1, A.abs().argmax(dim=1, keepdim=True))
    assert bool((largest > 0).all())


def test_peft_stops_early_without_a_gap(record_property: Any) -> None:
    """Otherwise the declared difference would be gone: peft's estimate is low-rank, and stops before all is seen."""
    rows = batches(decaying(), 16, 30.0)
    found = sine(eva_components(rows, D, R), pca(rows)[0])
    record_property("sine of peft's largest angle", found)
    assert 0.01 < found < 1


def test_equals_peft_where_there_is_a_gap() -> None:
    """Otherwise the two would mean different directions, and not only see different amounts of data."""
    rows = batches(with_gap(), 4, 30.0)
    own, theirs = start(rows), eva_components(rows, D, R, tau=0.9999)
    assert sine(own, theirs) <= 1e-3
    one = rows[:1]  # seen whole by both
    torch.testing.assert_close(start(one), eva_components(one, D, R), rtol=0, atol=1e-5)


def test_whitening_divides_by_the_root_of_the_singular_values() -> None:
    """Otherwise the scale would be another power of the variance, or depend on the number of rows differently."""
    rows = batches(with_gap(), 4)
    whitened, plain = start(rows, whiten=True), start(rows)
    torch.testing.assert_close(whitened, plain / pca(rows)[1].float().sqrt()[:, None], rtol=1e-5, atol=0)
    # peft runs over a lone batch twice before it stops, and counts its rows twice.
    theirs = eva_components(rows[:1], D, R, whiten=True)
    torch.testing.assert_close(theirs, start(rows[:1], whiten=True) / 2**0.25, rtol=1e-4, atol=1e-6)


class Attention(nn.Module):
    """q, k and v on one input, o on another; pads come first through an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(32, 16)
        self.q, self.k, self.v, self.o = (nn.Linear(16, n) for n in (16, 8, 12, 16))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """No attention: only who sees what matters here."""
        h = self.embed(input_ids)
        y: Tensor = self.o(torch.tanh(self.q(h) + self.k(h).sum(-1, keepdim=True) + self.v(h).sum(-1, keepdim=True)))
        return y


def sentences(count: int, pads: int) -> list[dict[str, Tensor]]:
    """Batches of four sentences of ten tokens, the last ``pads`` of them padding."""
    mask = torch.ones(4, 10, dtype=torch.long)
    mask[:, 10 - pads :] = 0
    return [{"input_ids": torch.randint(1, 32, (4, 10)) * mask, "attention_mask": mask} for _ in range(count)]


def test_padding_is_left_out() -> None:
    """Otherwise the padding token would become a principal direction."""
    model, data = Attention(), sentences(3, pads=4)
    rows = [model.embed(b["input_ids"])[b["attention_mask"] != 0].detach() for b in data]
    adapter: Any = attach(model, EVAConfig(r=4, rho=1, targets=Targets(include=("q",))), calibration=data).layers["q"]
    assert sine(adapter.A.detach(), pca(rows, 4)[0]) < 1e-5


def test_layers_with_one_input_share_one_statistic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise q, k and v would cost three accumulations and three decompositions."""
    rows: list[int] = []
    decomposed: list[Tensor] = []
    add, eigh = Inputs.add, torch.linalg.eigh

    def counting_add(self: Inputs, x: Tensor) -> None:
        rows.append(len(x))
        add(self, x)

    def counting_eigh(C: Tensor) -> Any:
        decomposed.append(C)
        return eigh(C)

    monkeypatch.setattr(Inputs, "add", counting_add)
    monkeypatch.setattr(torch.linalg, "eigh", counting_eigh)
    attachment = attach(Attention(), EVAConfig(r=4), calibration=sentences(3, pads=0))
    assert rows == [40] * 6  # three batches, two different inputs
    assert len(decomposed) == 2
    assert set(attachment.layers) == {"q", "k", "v", "o"}


def test_stacked_layers_see_the_original_model() -> None:
    """Otherwise the second layer would start on the activations of a model that nobody asked about."""
    model, rows = Mlp(), [torch.randn(50, 6) + 3 for _ in range(2)]
    inner = [torch.relu(model.up(x)).detach() for x in rows]
    attachment = attach(model, EVAConfig(r=3, rho=1), calibration=rows)
    for name, seen in (("up", rows), ("down", inner)):
        assert sine(attachment.layers[name].A.detach(), pca(seen, 3)[0]) < 1e-5  # type: ignore[operator]


def test_small_batches_are_pooled() -> None:
    """Otherwise batches with fewer rows than r would be passed over (peft then never ends)."""
    rows = batches(with_gap(), 40, rows=5)
    assert sine(start(rows), pca(rows)[0]) < 1e-5


def test_what_no_data_have_shown_is_refused() -> None:
    """Otherwise directions would be made up, or the model be left half changed."""
    model = Mlp()
    cases: list[tuple[str, dict[str, Any], list[Tensor] | None]] = [
        ("no calibration batches", {"r": 2}, None),
        ("no calibration batches", {"r": 2, "rho": 1}, None),
        ("3 rows of 6 inputs", {"r": 4}, [torch.randn(3, 6)]),
        ("3 rows of 6 inputs", {"r": 4, "rho": 1}, [torch.randn(3, 6)]),
        ("r=7", {"r": 7}, [torch.randn(50, 6)]),
        ("r=7", {"r": 7, "rho": 1}, [torch.randn(50, 6)]),
        ("vary in fewer than 2", {"r": 2, "rho": 1, "whiten": True}, [torch.randn(50, 1).expand(50, 6)]),
    ]
    for message, options, rows in cases:
        with refused(model, message):
            attach(model, EVAConfig(**options), calibration=rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rho": 0.5}, "at least 1"),
        ({"rho": float("inf")}, "finite"),
        ({"whiten": 1}, "True or False"),
        ({"adjust_scaling": "yes"}, "True or False"),
        ({"init": "gaussian"}, "got the option init; want one of targets, dtype, "),
        ({"r": 0}, "at least 1"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    """Otherwise an option would silently do nothing."""
    with pytest.raises(AdapterError, match=message):
        config_for("eva", **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_starts_as_the_identity(dtype: torch.dtype) -> None:
    """Otherwise attaching would change the model or the dtype of its activations."""
    layer, x = linear(dtype=dtype), torch.randn(30, 12).to(dtype)
    y = layer(x)
    attach(layer, EVAConfig(r=4), calibration=[x])
    assert torch.equal(layer(x), y)
    assert layer(x).dtype is dtype
