"""Does dropout act on elements of the input of the update, with one mask for everything that depends on it?"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from conformance.checks.check import DROPOUT, SMALL, with_options
from conformance.measuring.compare import EXACT_K, ROUNDED_K, Comparison, conclude, holds, same
from conformance.measuring.trial import Run, Trial, asking_the_subject, rounded
from conformance.measuring.trial import run as run_pass
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Finding
from conformance.nouns.probe import Probe
from refs.reference import ClosedForm, Reference

REPEATS = 256
"""Rows per number of the input. That none of them is dropped, or all are, has a chance of 1e-40."""
STANDARD_ERRORS = 7.0
"""Limit of the share that is dropped. The seed is fixed, so this is no chance from run to run."""


def probes(entry: Entry, reference: Reference) -> tuple[Probe, ...]:
    """Training with dropout, plain and under every option set, against the closed form."""
    if not isinstance(reference, ClosedForm) or not entry.has_dropout:
        return ()
    plain = replace(SMALL, training=True, batch=(REPEATS, SMALL.d_in))
    return tuple(each.under(dropout=DROPOUT) for each in (plain, *with_options(entry, plain)))


def run(trial: Trial) -> Finding:
    """Each row of the input has a single number that is not zero. If dropout drops it, the output is the base's; else

        y = W x + b + (W' - W) x / (1 - p)

    with W' from the closed form. Any other output is wrong. The gradient of that number must follow the same mask.
    """
    form = trial.reference
    assert isinstance(form, ClosedForm)
    p, d_in = trial.probe.settings.option("dropout", 0.0), trial.probe.d_in
    subject = trial.subject()
    values = rounded(trial.state(subject), subject)
    trial.load(subject, values)
    W, bias = subject.weight.double(), subject.base.bias
    b = torch.zeros(len(W), dtype=W.dtype) if bias is None else bias.detach().double()
    tensors = {name: value.numpy() for name, value in values.items() if name in subject.names}
    effective = torch.from_numpy(form.effective(tensors, W.numpy(), b.numpy(), trial.probe.settings)[0])
    x = torch.eye(d_in, dtype=trial.x.dtype).repeat(REPEATS, 1).reshape(*trial.probe.batch, d_in)
    with asking_the_subject():
        got = run_pass(subject, x, trial.cotangent)
    return conclude(trial.case, _compared(got, x, trial.cotangent, (W, b, (effective - W) / (1 - p)), p))


def _compared(
    got: Run, x: Tensor, cotangent: Tensor, sides: tuple[Tensor, Tensor, Tensor], p: float
) -> list[Comparison]:
    W, b, update = sides
    if got.y.shape != cotangent.shape:
        return [same(tuple(got.y.shape), tuple(cotangent.shape), "output under dropout", "shape")]
    rows, out = x.double().reshape(-1, x.shape[-1]), got.y.double().reshape(-1, cotangent.shape[-1])
    c, which = cotangent.double().reshape(out.shape), rows.argmax(1)
    bare = rows @ W.T + b
    kept = bare + rows @ update.T
    far = torch.stack([(out - each).abs().amax(1) for each in (bare, kept)])
    is_kept = far[1] < far[0]
    limit = _limit(got.y.dtype) * kept.abs().max().item()
    found = [_within("output under dropout", far.min(0).values, limit, "neither dropped nor kept whole")]
    share, room = 1 - is_kept.double().mean().item(), STANDARD_ERRORS * (p * (1 - p) / len(rows)) ** 0.5
    found.append(
        Comparison(
            "share that is dropped",
            len(rows),
            abs(share - p) <= room,
            abs(share - p),
            room,
            got=f"{share:.3f}",
            want=f"{p:g}",
            numeric=True,
        )
    )
    each = is_kept.reshape(REPEATS, -1).double().mean(0)
    drawn = bool(((each > 0) & (each < 1)).all())
    found.append(holds(drawn, "masks of several rows", _word(drawn), _word(True), n=len(rows)))
    if got.grad_x is None:
        return [*found, same(None, "a tensor", "gradient of x")]
    flows = got.grad_x.double().reshape(rows.shape).gather(1, which[:, None])[:, 0]
    through = (c * W.T[which]).sum(1) + is_kept * (c * update.T[which]).sum(1)
    limit = _limit(got.grad_x.dtype) * through.abs().max().item()
    found.append(_within("gradient of x under dropout", (flows - through).abs(), limit, "through another mask"))
    return found


def _limit(dtype: torch.dtype) -> float:
    return (EXACT_K if dtype == torch.float64 else ROUNDED_K) * torch.finfo(dtype).eps


def _within(what: str, gaps: Tensor, limit: float, told: str) -> Comparison:
    wrong, error = int((gaps > limit).sum()), gaps.max().item()
    got = f"{wrong} of {len(gaps)} rows are {told}" if wrong else "every row dropped or kept whole"
    return Comparison(
        what, len(gaps), not wrong, error, limit, got=got, want="every row dropped or kept whole", numeric=True
    )


def _word(drawn: bool) -> str:
    return "each row draws its own" if drawn else "rows share their mask"
