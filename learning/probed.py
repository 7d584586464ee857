"""What a probe was asked and what it found, as a table for a terminal and as a plot. Pure: the same gives the same."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from learning.measure import Run
from learning.plot import CONTROL, OURS, STYLE
from learning.rates import RATES

CERTAIN = 3.0
"""The difference to the control counts if it is so many standard errors above zero."""


@dataclass(frozen=True)
class Asked:
    """What to probe."""

    model: Path
    variant: str
    data: Path | None = None
    options: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    lr: float | None = None
    steps: int = 40
    batch: int = 16
    length: int = 64
    seed: int = 0
    dtype: str = "float32"
    device: str = "cpu"

    @property
    def rate(self) -> float:
        """The learning rate: that of the method's authors if none is given."""
        return RATES[self.variant].lr if self.lr is None else self.lr


@dataclass(frozen=True)
class Probed:
    """What was measured. ``gain``: mean and standard error, over the held-out sequences, of how much lower the loss of
    each is than under the control.
    """

    asked: Asked
    kind: str
    has_weights: bool
    sequences: tuple[int, int, int]
    """To train on, held out, and tokens of each."""
    ours: Run
    control: Run
    gain: tuple[float, float]
    trainable: int
    total: int
    layers: int
    still: tuple[str, ...]
    base_moved: tuple[str, ...]
    reloaded: bool
    cached: bool
    seconds: float

    @property
    def learns(self) -> bool:
        """Whether the held-out loss fell, and further than chance and the control explain."""
        start, end = self.ours.held_out
        return end < start and self.gain[0] > CERTAIN * self.gain[1]

    @property
    def sound(self) -> bool:
        """Whether nothing else is wrong: every trainable tensor moved, no other, and a file gives the same model."""
        return not self.still and not self.base_moved and self.reloaded


def data(found: Probed) -> dict[str, Any]:
    """The result as plain data. Figures that are no numbers are words: JSON has no NaN."""
    told = asdict(found) | {"learns": found.learns, "sound": found.sound}
    plain: dict[str, Any] = json.loads(json.dumps(told, default=str), parse_constant=str)
    return plain


def table(found: Probed) -> str:
    """The result, for a terminal."""
    asked, (n, held, length) = found.asked, found.sequences
    options = f" ({', '.join(asked.options)})" if asked.options else ""
    weights = "its weights" if found.has_weights else f"random weights, seed {asked.seed}"
    data = "a rule of succession, made here" if asked.data is None else str(asked.data)
    share = 100 * found.trainable / found.total
    rows = {
        "training loss": found.ours.train,
        "held-out loss": found.ours.held_out,
        "held-out loss, control": found.control.held_out,
    }
    checks = {
        "moved": f"not {', '.join(found.still[:3])}" if found.still else "every trainable tensor",
        "base": f"moved: {', '.join(found.base_moved[:3])}" if found.base_moved else "unchanged",
        "saved and loaded": "the same logits, bit for bit" if found.reloaded else "OTHER LOGITS",
        "generation": f"{'the same' if found.cached else 'other'} tokens with a cache as without",
    }
    lines = [
        f"{asked.variant}{options} on {asked.model} ({found.kind}, {weights}, {asked.dtype}, {asked.device})",
        f"  trains {found.trainable:,} numbers on {found.layers} layers, beside {found.total:,} ({share:.2g} %)",
        f"  data: {data}; {n} sequences of {length} tokens to train on, {held} held out",
        f"  {asked.steps} steps of {asked.batch}, AdamW, learning rate {asked.rate:g}, seed {asked.seed}",
        "",
        f"  {'':24}{'before':>12}{'after':>12}{'fell by':>12}",
        *(f"  {name:24}{a:12.6f}{b:12.6f}{a - b:12.6f}" for name, (a, b) in rows.items()),
        f"  {'below the control':24}{'':24}{found.gain[0]:12.6f} ± {found.gain[1]:.6f}",
        "",
        *(f"  {name:24}{told}" for name, told in checks.items()),
        f"  {'time':24}{found.seconds:.1f} s",
        "",
        _verdict(found),
    ]
    return "\n".join(lines)


def _verdict(found: Probed) -> str:
    if not found.sound:
        return "WRONG: see above."
    if found.learns:
        return (
            "It learns: the held-out loss falls further than that of the control, by more than three standard errors "
            "(over held-out sequences; one seed)."
        )
    return (
        "No sign of learning: the held-out loss does not fall further than that of the control, which was trained on "
        "shuffled targets. Try more --steps, or a higher --lr."
    )


def svg(found: Probed) -> str:
    """The loss of every step, and the held-out losses before and after. The same run gives the same bytes."""
    with rc_context({**STYLE, "svg.hashsalt": "probe"}):
        figure = Figure(figsize=(6, 3.4), layout="constrained")
        axes = figure.subplots()
        for run, color, label in ((found.control, CONTROL, "control, its own targets"), (found.ours, OURS, "variant")):
            axes.plot(range(len(run.curve)), run.curve, color=color, linewidth=1.2, label=f"training, {label}")
            held = f"held out, {label.partition(',')[0]}"
            axes.plot([0, len(run.curve)], run.held_out, "o:", color=color, linewidth=0.8, markersize=4, label=held)
        axes.set_title(f"{found.asked.variant} on {found.asked.model.name}, learning rate {found.asked.rate:g}")
        axes.set_xlabel("step")
        axes.set_ylabel("loss per token")
        axes.legend(fontsize=7, frameon=False)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"
