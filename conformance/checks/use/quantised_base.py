"""What becomes of a quantised base: which ones a saved adapter is loaded on, and what an adapter leaves of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from conformance.checks.use.packed import CALLED, EIGHT_BITS, bits, change_one_scale, dequantised, packed, plain_kind
from conformance.measuring.compare import Comparison, close, holds, same
from conformance.measuring.trial import Trial, asking_the_subject
from conformance.measuring.trial import run as run_pass
from refs.subject import Subject


def made(trial: Trial, factor: float = 1.0, kind: str | None = None) -> nn.Linear:
    """The probe's layer, or the one with ``factor`` W, quantised; as the probe says unless ``kind`` is given."""
    plain = trial.layer().train(trial.probe.training)
    with torch.no_grad():
        plain.weight.mul_(factor)
    return packed(plain, trial.probe.special if kind is None else kind)


def used(trial: Trial, subject: Subject) -> Iterator[Comparison]:
    """Saved and loaded it computes the same; taken off, it leaves codes and scales as they were."""
    lifecycle = trial.entry.lifecycle
    if lifecycle is None:
        return
    with asking_the_subject():
        got = run_pass(subject, trial.x, trial.cotangent)
    if lifecycle.save is not None and lifecycle.load is not None:
        with asking_the_subject(), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "adapter"
            lifecycle.save(subject, path)
            back = lifecycle.load(made(trial), path)
            again = run_pass(back, trial.x, trial.cotangent)
        yield close(again.y, got.y, "output after loading", scale=0.0)
    if lifecycle.detach is not None:
        called = made(trial)  # a call moves the bias to the input's dtype, and the scales to another place
        backward = not trial.probe.special.endswith(CALLED)  # with it, nothing is rewritten; after that, it may raise
        y = run_pass(Subject(called, called), trial.x, trial.cotangent, backward=backward).y
        with asking_the_subject():
            lifecycle.detach(subject)
        yield from _untouched(subject.base, without_it(called), "after detaching")
        left = run_pass(Subject(subject.base, subject.base), trial.x, trial.cotangent, backward=backward).y
        yield close(left, y, "output after detaching", scale=0.0)


def other_bases(trial: Trial) -> Iterator[Comparison]:
    """A saved adapter is loaded on its own base however that is packed, and on no base with other numbers."""
    lifecycle = trial.entry.lifecycle
    if lifecycle is None or lifecycle.save is None or lifecycle.load is None or trial.probe.state == "t0":
        return
    kind = plain_kind(trial.probe.special)
    own = [kind] if kind == EIGHT_BITS else [kind, kind + CALLED]
    for saved_on in own:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "adapter"
            with asking_the_subject():
                subject = trial.subject(made(trial, kind=saved_on))
                lifecycle.save(subject, path)
            for loaded_on in own:
                with asking_the_subject():
                    back = lifecycle.load(made(trial, kind=loaded_on), path)
                for name, value in subject.values().items():
                    what = f"{name} of {_named(saved_on)} on {_named(loaded_on)}"
                    yield close(back.values()[name], value, what, scale=0.0)
            for what, change in _CHANGES.items():
                told = _told(lifecycle.load, change(trial), path)
                yield holds(bool(told), f"a base with {what}", "loaded without a word", "an error")


def _named(kind: str) -> str:
    return "a layer called before" if kind.endswith(CALLED) else "a fresh layer"


def _one_scale(trial: Trial) -> nn.Linear:
    layer = made(trial, kind=plain_kind(trial.probe.special))
    change_one_scale(layer)
    return layer


_CHANGES: dict[str, Callable[[Trial], nn.Linear]] = {
    "-W": lambda trial: made(trial, -1.0),
    "2 W": lambda trial: made(trial, 2.0),
    "one other scale": _one_scale,
}


def _told(load: Callable[[nn.Linear, Path], Subject], layer: nn.Linear, path: Path) -> str:
    """The error of loading; empty if there is none."""
    try:
        load(layer, path)
    except Exception as error:
        return str(error) or type(error).__name__
    return ""


def refused(layer: nn.Linear, before: dict[str, object], told: str) -> Iterator[Comparison]:
    """A refusal names what it was given, and leaves it alone."""
    kind = type(layer).__name__
    clear = kind in told or "quanti" in told.lower()
    yield holds(clear, "what the refusal says", told, f"an error that names the {kind}")
    yield from _untouched(layer, before, "after the refusal")


def without_it(layer: nn.Linear) -> dict[str, object]:
    """All that an adapter could change in a layer."""
    hooks = len(layer._forward_hooks) + len(layer._forward_pre_hooks) + len(layer._backward_hooks)
    return {
        "tensors": {**bits(layer), "numbers": dequantised(layer)},
        "hooks": hooks,
        "submodules": sorted(name for name, _ in layer.named_modules()),
        "weight's class": type(layer.weight).__name__,
    }


def _untouched(layer: nn.Module, before: dict[str, object], when: str) -> Iterator[Comparison]:
    """Judged by the numbers that the codes stand for, and by codes and scales in one packing."""
    assert isinstance(layer, nn.Linear)
    now = without_it(layer)
    was, still = before.pop("tensors"), now.pop("tensors")
    assert isinstance(was, dict)
    assert isinstance(still, dict)
    yield same(now, before, f"layer {when}")
    yield same(_dtypes(still), _dtypes(was), f"dtypes {when}")
    for name in sorted(was.keys() & still.keys()):
        yield close(still[name].double(), was[name].double(), f"{name} {when}", scale=0.0)


def _dtypes(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """But for the bias: a call of the bare layer moves that to its input's dtype."""
    return {name: str(t.dtype) for name, t in tensors.items() if name != "bias"}
