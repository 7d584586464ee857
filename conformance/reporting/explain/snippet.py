"""A test configuration as code that runs: with the variant and peft alone where it can, else with the harness.

The code builds both sides on the same layer, gives them the same tensors, calls them, and prints both sides' numbers at
the worst place of the output and of every gradient.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from conformance.measuring.trial import DROPOUT_SEED, Trial
from conformance.nouns.probe import Probe
from conformance.planning.plan import Planned
from refs.reference import Built, Live, Recorded
from refs.subject import AS_IS, FLAT, TRANSPOSED

RESHAPED = (AS_IS, FLAT)
"""Views for which the value in the formula's shape is what is stored, reshaped."""
TARGET = {"target_modules": '["layer"]'}
START = ("init", "data_init", "reconstruction", "ranks", "shared_inputs")
"""Checks that ask about the start itself: equal tensors on both sides would hide what they compare."""


@dataclass(frozen=True)
class Attached:
    """How a library's user puts the variant on ``model``: imports, and the lines that do it."""

    imports: tuple[str, ...]
    lines: tuple[str, ...]


def snippet(planned: Planned, attached: Attached | None, place: str) -> tuple[str, str]:
    """The code, and what it needs. ``attached``: None where the library does not say; ``place``: of its entries."""
    peft = _peft(planned) if attached is not None else None
    if attached is None or peft is None:
        return _through_the_harness(planned, place), "the variant, its references and this harness"
    return _alone(planned.probe, attached, *peft), "the variant and peft"


Paths = tuple[tuple[str, str, str], ...]
"""The formula's name of a tensor, its path in the subject, its path in the reference."""


def _peft(planned: Planned) -> tuple[Attached, Paths, bool] | None:
    """peft's side from the configuration that the reference really built; None if it took more than a configuration.

    The flag says that peft stores each tensor transposed.
    """
    probe, method, live = planned.probe, planned.entry.method, planned.reference
    plain = not probe.label and not probe.special and "calibration" not in dict(probe.options)
    if (
        not (plain and isinstance(live, Live))
        or planned.check.name in START
        or method is None
        or method.replaces_weight
    ):
        return None
    trial = Trial(planned.entry, live, probe, planned.check.name)
    theirs, ours = trial.reference_subject(), trial.subject()
    configs = list(getattr(theirs.host, "peft_config", {}).values())
    views = [view for _, view in theirs.names.values()]
    turned = all(view == TRANSPOSED for view in views)
    known = (turned or all(view in RESHAPED for view in views)) and all(v == AS_IS for _, v in ours.names.values())
    if len(configs) != 1 or not known or set(ours.names) != set(theirs.names):
        return None
    lines = [f"peft.get_peft_model(theirs, peft.{written_config(configs[0], TARGET)})"]
    dtype = probe.settings.dtype
    if dtype == probe.dtype:
        lines.append(f"theirs.to(torch.{dtype})")
    elif dtype is not None:
        if any(theirs.slots()[name].kind != "parameter" for name in theirs.names):
            return None
        lines += ["for _, _, path in TENSORS:", "    tensor = theirs.get_parameter(path)"]
        lines += [f"    tensor.data = tensor.data.to(torch.{dtype})"]
    paths = tuple((name, ours.names[name][0], path) for name, (path, _) in theirs.names.items())
    return Attached(("import peft",), tuple(lines)), paths, turned


def written_config(config: Any, fixed: Mapping[str, str]) -> str:
    """A dataclass of options as the call that makes it: ``fixed`` as written, of the rest what is not the default."""
    usual = type(config)()
    told = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in fixed:
            told.append(f"{field.name}={fixed[field.name]}")
        elif field.init and value != getattr(usual, field.name):
            told.append(f"{field.name}={value!r}")
    return f"{type(config).__name__}({', '.join(told)})"


def _alone(p: Probe, attached: Attached, peft: Attached, paths: Paths, turned: bool) -> str:
    lines = [
        "from collections import OrderedDict",
        "",
        "import numpy as np",
        *peft.imports,
        "import torch",
        "from torch import nn",
        *attached.imports,
        "",
        "TENSORS = (  # name in the formula, here, in peft",
        *(f"    {each!r}," for each in paths),
        ")",
        "",
        "",
        *_model(p),
        "",
        "",
        *_built(p, "ours", attached.lines),
        *_built(p, "theirs", peft.lines),
        *_equal(p, turned),
        *_called(p, turned),
    ]
    return "\n".join(lines) + "\n"


def _model(p: Probe) -> list[str]:
    load = "{'weight': W, 'bias': b}" if p.bias else "{'weight': W}"
    return [
        "def numbers(*seed, shape):",
        "    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))",
        "",
        "",
        "def model():",
        f"    rng = np.random.default_rng([{p.seed}, 0])",
        f"    W = torch.from_numpy(rng.standard_normal(({p.d_out}, {p.d_in})) / {p.d_in}**0.5)",
        *([f"    b = torch.from_numpy(0.5 * rng.standard_normal({p.d_out}))"] if p.bias else []),
        f"    torch.manual_seed({1000 * p.seed})  # where both sides start",
        f"    layer = nn.Linear({p.d_in}, {p.d_out}, bias={p.bias}, dtype=torch.{p.dtype})",
        f"    layer.load_state_dict({load})",
        "    return nn.Sequential(OrderedDict(layer=layer))",
    ]


def _built(p: Probe, side: str, lines: tuple[str, ...]) -> list[str]:
    return [f"{side} = model()", *lines, f"{side}.{'train' if p.training else 'eval'}()"]


def _equal(p: Probe, turned: bool) -> list[str]:
    """Both sides get peft's start, its trainable tensors moved unless the case is about t=0."""
    moved = [
        "        if t.requires_grad:  # away from the start, where many mistakes do not show",
        f"            step = numbers({p.seed}, 3, *name.encode(), shape=tuple(v.shape))",
        "            v = v + 0.5 * max(v.square().mean().sqrt().item(), 0.2) * step",
    ]
    return [
        "ours_now, theirs_now = ({**dict(m.named_parameters()), **dict(m.named_buffers())} for m in (ours, theirs))",
        "with torch.no_grad():  # equal tensors on both sides",
        "    for name, here, in_peft in TENSORS:",
        "        t, u = theirs_now[in_peft], ours_now[here]",
        f"        v = {'t.T' if turned else 't.reshape(u.shape)'}.double()",
        *(moved if p.state != "t0" else []),
        f"        t.copy_({'v.T' if turned else 'v.reshape(t.shape)'})",
        "        u.copy_(v)",
        f"x = numbers({p.seed}, 1, shape={(*p.batch, p.d_in)}).to(torch.{p.dtype})",
        f"cotangent = numbers({p.seed}, 2, shape={(*p.batch, p.d_out)})",
    ]


def _called(p: Probe, turned: bool) -> list[str]:
    mask = [f"    torch.manual_seed({DROPOUT_SEED})  # the same dropout on both sides"] if p.training else []
    return [
        "",
        "",
        "def call(side):",
        *mask,
        "    leaf = x.clone().requires_grad_()",
        "    y = side(leaf)",
        "    torch.autograd.backward(y, cotangent.reshape(y.shape).to(y.dtype))",
        "    return y.detach(), leaf.grad",
        "",
        "",
        "def show(what, got, want):",
        "    if got is None or want is None or got.numel() != want.numel() or not want.numel():",
        '        print(what, "ours", getattr(got, "shape", got), "peft", getattr(want, "shape", want))',
        "        return",
        "    got, want = got.double().reshape(-1), want.double().reshape(-1)",
        "    at = (got - want).abs().argmax()  # the worst place",
        '    print(f"{what}: ours {got[at]:.6g} peft {want[at]:.6g} error {(got - want).abs().max():.3g}")',
        "",
        "",
        "(y, of_x), (y_peft, of_x_peft) = call(ours), call(theirs)",
        'show("output", y, y_peft)',
        'show("gradient of x", of_x, of_x_peft)',
        "for name, here, in_peft in TENSORS:",
        f'    show(f"gradient of {{name}}", ours_now[here].grad, theirs_now[in_peft].grad{".T" if turned else ""})',
    ]


def _through_the_harness(planned: Planned, place: str) -> str:
    """For what takes more than a layer and a configuration: calibration, corner cases, other references."""
    case = planned.case
    lines = [
        "from conformance.measuring.trial import Trial, run",
        "from conformance.planning.select import entries_at, plan_for",
        "",
        f"CASE = {case.id!r}",
        f"planned = plan_for([{case.variant!r}], entries_at({place!r}), CASE)[0]",
        "trial = Trial(planned.entry, planned.reference, planned.probe, planned.check.name)",
    ]
    if planned.probe.label or isinstance(planned.reference, Recorded):
        lines += ["print(planned.check.run(trial).message())"]
    elif isinstance(planned.reference, Built):
        lines += [
            "values = trial.state(trial.reference_subject())  # the same tensors on both sides",
            "got = run(trial.subject(values=values), trial.x, trial.cotangent)",
            "want = run(trial.reference_subject(values=values), trial.x, trial.cotangent)",
            "print('output: largest difference', (got.y.double() - want.y.double()).abs().max().item())",
            "print(planned.check.run(trial).message())  # what the check itself makes of it",
        ]
    else:
        lines += [
            "from conformance.measuring.witness import passes, start",
            "",
            "values = trial.state(start(trial))  # the same tensors on both sides",
            "got = run(trial.subject(values=values), trial.x, trial.cotangent)",
            "want = passes(trial, trial.reference, values, x=trial.x, cotangent=trial.cotangent)  # NumPy, float64",
            "print('output: largest difference', (got.y.double() - want.y).abs().max().item())",
            "print(planned.check.run(trial).message())  # what the check itself makes of it",
        ]
    return "\n".join(lines) + "\n"
