"""What an adapter keeps from one token to the next is never stale."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from variants import attach, config_for
from variants.runtime.numerics.derived import WHOLE, Derived, unchanged

KEEPING: dict[str, dict[str, Any]] = {
    "dora": {"r": 4},
    "hra": {"r": 4},
    "hra gram_schmidt": {"r": 4, "gram_schmidt": True},
    "road": {"group_size": 8},
}
every = pytest.mark.parametrize("case", KEEPING)
DTYPES = [torch.float64, torch.bfloat16]


def adapted(case: str, dtype: torch.dtype = torch.float64, d_in: int = 24, d_out: int = 40) -> tuple[nn.Linear, Any]:
    """A layer in eval mode, that was called in inference mode, with an adapter away from its start."""
    layer = nn.Linear(d_in, d_out).to(dtype)
    wide = "float64" if dtype == torch.float64 else "float32"
    adapter = attach(layer, config_for(case.split()[0], dtype=wide, **KEEPING[case])).layers[""]
    layer.eval()
    with torch.no_grad():
        for p in adapter.parameters():
            p.add_(0.3 * torch.randn_like(p))
    decode(layer)
    return layer, adapter


def token(layer: nn.Module) -> Tensor:
    """The same every time."""
    d_in: int = layer.in_features  # type: ignore[assignment]
    return torch.linspace(-1, 1, d_in).to(next(layer.parameters()).dtype)[None]


def decode(layer: nn.Module) -> Tensor:
    """One token in inference mode."""
    with torch.inference_mode():
        y: Tensor = layer(token(layer))
    return y.clone()


def anew(layer: nn.Module) -> Tensor:
    """The same, with nothing kept."""
    other = copy.deepcopy(layer)
    return decode(other)


def assert_fresh(layer: nn.Module, before: Tensor) -> None:
    """The output has moved, and is what it is with nothing kept, also when asked again."""
    want = anew(layer)
    assert (want - before).abs().max() > 1e-6
    assert torch.equal(decode(layer), want)
    assert torch.equal(decode(layer), want)


def in_place(tensor: Tensor) -> None:
    with torch.no_grad():
        tensor.mul_(1.5).add_(0.1)


def in_inference_mode(tensor: Tensor) -> None:
    with torch.inference_mode():
        tensor.mul_(1.5).add_(0.1)


def behind_the_version(tensor: Tensor) -> None:
    tensor.data.mul_(1.5).add_(0.1)


def one_entry(tensor: Tensor) -> None:
    tensor.data.view(-1)[7] += 3


def other_memory(tensor: Tensor) -> None:
    for _ in range(3):  # the address of the first may come back
        tensor.data = tensor.data * 1.5 + 0.1


def set_(tensor: Tensor) -> None:
    with torch.no_grad():
        tensor.set_(tensor.detach() * 1.5 + 0.1)  # type: ignore[call-overload]


WRITES = (in_place, in_inference_mode, behind_the_version, one_entry, other_memory, set_)


@every
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("write", WRITES)
def test_every_write_to_every_tensor_shows(case: str, dtype: torch.dtype, write: Callable[[Tensor], None]) -> None:
    """Otherwise a model would go on with the numbers of before."""
    layer, adapter = adapted(case, dtype)
    for tensor in (*adapter.parameters(), layer.weight, layer.bias):
        before = decode(layer)
        write(tensor)
        assert_fresh(layer, before)


@every
def test_training_shows(case: str) -> None:
    """Otherwise generating between two steps would use the adapter of the first, however the optimiser writes."""
    layer, adapter = adapted(case, d_in=200, d_out=160)
    x = torch.randn(5, 200, dtype=torch.float64)
    for fused in (False, True):
        before = decode(layer)
        layer(x).square().sum().backward()
        if fused:
            torch.optim.SGD(adapter.parameters(), lr=0.1, fused=True).step()
        else:
            for p in adapter.parameters():
                p.data.view(-1)[7] -= 0.5 * p.grad.view(-1)[7].sign()  # one entry, and no version counts it
        adapter.zero_grad()
        assert_fresh(layer, before)


@every
def test_load_cast_and_replace(case: str) -> None:
    """Otherwise tensors that come from elsewhere would be passed over."""
    layer, adapter = adapted(case)
    for assign in (False, True):
        before = decode(layer)
        layer.load_state_dict({key: 1.2 * t.clone() + 0.1 for key, t in layer.state_dict().items()}, assign=assign)
        assert_fresh(layer, before)
    before = decode(layer)
    for name, p in list(adapter.named_parameters()):
        setattr(adapter, name, nn.Parameter(p.detach() * 1.1 + 0.1))
    assert_fresh(layer, before)
    wide = decode(layer)
    layer.float()
    assert_fresh(layer, wide.float() + 1)
    layer.double()
    assert (decode(layer) - wide).abs().max() <= 1e-4


@every
def test_copies_keep_to_themselves(case: str) -> None:
    """Otherwise a copy would answer with the original's numbers, or hold its memory."""
    layer, _ = adapted(case)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for twin in (copy.deepcopy(layer), torch.load(file, weights_only=False)):
        assert twin.adapter._derived._seen is None
        before = decode(twin)
        assert torch.equal(before, decode(layer))
        behind_the_version(next(twin.adapter.parameters()))
        assert_fresh(twin, before)
        assert torch.equal(decode(layer), before)


@every
def test_functional_call(case: str) -> None:
    """Otherwise the tensors that were passed would not count, or stay after the call."""
    layer, _ = adapted(case)
    before = decode(layer)
    others = {key: 1.2 * t.detach() + 0.1 for key, t in layer.state_dict().items()}
    x = token(layer)
    with torch.inference_mode():
        got = functional_call(layer, others, (x,))
        again = functional_call(layer, others, (x,))
    assert (got - before).abs().max() > 1e-6
    assert torch.equal(got, again)
    assert torch.equal(decode(layer), before)
    layer.load_state_dict(others)
    torch.testing.assert_close(decode(layer), got, rtol=0, atol=1e-13)


@every
def test_other_dtype_of_the_input(case: str) -> None:
    """Otherwise numbers in the dtype of the call before would meet the wrong one."""
    layer = nn.Linear(24, 40)
    attach(layer, config_for(case.split()[0], **KEEPING[case]))
    layer.eval()
    x = torch.randn(3, 24)
    with torch.inference_mode():
        first = layer(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            layer(x)
            layer(x.bfloat16())
        assert torch.equal(layer(x), first)


@every
def test_tensors_without_a_version(case: str) -> None:
    """Otherwise tensors made in inference mode, which count no versions, would fail or be stale."""
    layer, adapter = adapted(case)
    with torch.inference_mode():
        for name, p in list(adapter.named_parameters()):
            setattr(adapter, name, nn.Parameter(p.clone(), requires_grad=False))
        for p in adapter.parameters():
            assert p.is_inference()
            before = decode(layer)
            p.mul_(1.5).add_(0.1)
            assert_fresh(layer, before)


def test_kept_only_in_eval_and_inference_mode() -> None:
    """Otherwise memory would be held in training, or a token cost what a whole forward does."""
    layer, adapter = adapted("dora")
    made = []
    factor = adapter.factor
    adapter.__dict__["factor"] = lambda W: (made.append(1), factor(W))[1]
    decode(layer)
    decode(layer)
    assert len(made) == 0
    x = torch.randn(2, 24, dtype=torch.float64)
    with torch.no_grad():
        layer(x)
        layer(x)
    layer(x)
    assert len(made) == 3
    assert adapter._derived._seen is None
    layer.train()
    decode(layer)
    decode(layer)
    assert len(made) == 5


def test_memory_of_before_a_move_is_let_go() -> None:
    """Otherwise a cast or moved model would be held twice."""
    layer, adapter = adapted("dora")
    assert adapter._derived._seen is not None
    layer.float()
    assert adapter._derived._seen is None


def counting(kept: Derived[int], source: Tensor) -> Callable[[], int]:
    """A value that tells how often it was made."""
    counter = iter(range(1000))
    return lambda: kept.get((source,), lambda: next(counter))


@pytest.mark.parametrize("size", [1, 7, WHOLE])
def test_a_small_tensor_is_compared_whole(size: int) -> None:
    """Otherwise a write through ``.data`` to an entry that nobody looks at would never show."""
    source = torch.randn(size)
    get = counting(Derived(), source)
    assert get() == get() == 0
    source.data.mul_(2)
    assert get() == get() == 1
    places = torch.linspace(0, size - 1, min(size, 200)).long().tolist()
    for place in places:
        before = get()
        source.data[place] += 1
        assert get() == before + 1


def test_of_a_large_tensor_nothing_is_kept_unless_nobody_writes() -> None:
    """Otherwise one entry of a large matrix could be written, and the next output be that of before."""
    source = torch.randn(WHOLE + 1)
    get = counting(Derived(), source)
    assert (get(), get()) == (0, 1)
    with unchanged():
        assert (get(), get()) == (2, 2)
        source.mul_(2)  # which autograd counts
        assert (get(), get()) == (3, 3)
    source.data[1] += 1
    assert get() == 4
    with unchanged():
        assert (get(), get()) == (5, 5)
    with unchanged():  # another promise
        assert get() == 6


@pytest.mark.parametrize("case", ["dora", "hra"])
def test_what_is_kept_under_the_promise_is_the_same(case: str) -> None:
    """Otherwise the faster way would compute something else."""
    layer, _ = adapted(case, d_in=100, d_out=120)
    want = decode(layer)
    with unchanged():
        assert torch.equal(decode(layer), want)
        assert torch.equal(decode(layer), want)
