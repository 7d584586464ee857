"""Whole models: what is measured, what the page says of it, and that a wrong variant would show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from learning import distributed, plot, render, task
from learning.measure import Row, Run, Seed, measure, train
from learning.rates import RATES
from learning.sides import ONLY_OURS, beside, has_peft, put
from subjects.own.roster import ENTRIES

REPORTS = Path(__file__).parents[2] / "reports"
NAMES = tuple(entry.name for entry in ENTRIES)
RUN = Run((3.0, 2.0), (3.0, 2.0), (3.0, 2.5))
SEED = Seed(RUN, RUN, Run((3.0, 3.0), (3.0, 2.9), (3.0, 2.9)), (), (), True, True, 0.0)
ROW = Row("lora", "Llama", 2e-4, "", (SEED, SEED))


def test_every_variant_has_a_rate_with_a_source() -> None:
    """A variant would be left out, or trained at a rate that nobody recommends."""
    assert tuple(RATES) == NAMES
    assert all("arXiv" in rate.source or "at " in rate.source for rate in RATES.values())


def test_the_committed_page_is_that_of_the_committed_figures() -> None:
    """The page would say something that was not measured."""
    results = render.from_json((REPORTS / render.DATA).read_text(encoding="utf-8"))
    assert {row.variant for row in results.rows} == set(NAMES) == set(results.ddp)
    assert render.markdown(results) == (REPORTS / render.MARKDOWN).read_text(encoding="utf-8")
    assert render.to_json(results) == (REPORTS / render.DATA).read_text(encoding="utf-8")


def test_what_is_wrong_on_the_committed_page_is_explained() -> None:
    """A variant that does not learn, or not as peft's, would be committed as a matter of course."""
    results = render.from_json((REPORTS / render.DATA).read_text(encoding="utf-8"))
    wrong = {(row.variant, row.model, column) for row in results.rows for column, text in bold(row).items()}
    assert {column for _, _, column in wrong} <= {"control"}
    assert {(row.variant, row.model) for row in results.again} == {(name, model) for name, model, _ in wrong}
    assert not any(bold(row) for row in results.again)
    assert set(results.ddp.values()) == {"same"}


def bold(row: Row) -> dict[str, str]:
    """The cells that say that something is wrong."""
    return {column: text for column, text in render.cells(row).items() if "**" in text}


def test_the_page_calls_what_went_wrong() -> None:
    """A row of failures would read like the others."""
    worse = Run((3.0, 3.5), (3.0, 3.5), (3.0, 3.5))
    bad = replace(SEED, ours=worse, still=("a",), reloaded=False, generated=False, checkpointed=1.0)
    cells = render.cells(replace(ROW, seeds=(bad, bad)))
    assert all(text.startswith("**") for text in cells.values()), cells
    assert render.moved((replace(SEED, base_moved=("W",)),)) == "**the base moved** (W)"
    assert not any(text.startswith("**") for text in render.cells(ROW).values())


def test_the_spread_over_seeds_is_peft_s_own() -> None:
    """Curves that differ would be called the same, or equal ones apart."""

    def seed(ours: float, theirs: float) -> Seed:
        return replace(SEED, ours=replace(RUN, curve=(ours,)), peft=replace(RUN, curve=(theirs,)))

    assert render.curves((seed(1.0, 1.0), seed(2.0, 2.0))) == "the same"
    assert render.curves((seed(1.1, 1.0), seed(2.1, 2.0))) == "within the seeds"
    assert render.curves((seed(2.0, 1.0), seed(2.1, 1.1))) == "**another**"


def test_a_control_as_good_is_asked_again() -> None:
    """A bold cell would stand there without a word."""
    good = Run(RUN.curve, RUN.train, (3.0, 2.5))
    row = replace(ROW, seeds=(replace(SEED, control=good),))
    assert render.unconvincing(row)
    assert not render.unconvincing(ROW)
    page = render.markdown(render.Results((row,), (ROW,), {"lora": "same"}))
    assert "100 times the rate" in page
    assert "times the rate" not in render.markdown(render.Results((ROW,), (), {"lora": "same"}))


def test_plots_are_the_same_every_time() -> None:
    """A plot would change with every run."""
    assert plot.svg([ROW]) == plot.svg([ROW])
    assert "peft" in plot.svg([ROW])


def test_a_variant_is_measured() -> None:
    """The table could be filled without a model having learned."""
    row = measure("lora", "Qwen3", seeds=1, steps=12)
    results = render.Results((row,), (), {"lora": "same"})
    assert render.from_json(render.to_json(results)) == results
    assert not bold(row)
    assert render.cells(row)["peft"] == "the same"


def test_a_variant_that_does_not_learn_shows() -> None:
    """A dead adapter would pass for one that learns slowly."""
    taught = task.data(rule=1, seed=10)
    model = task.base("Llama")
    put("lora", model, taught, seed=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith((".A", ".B")):
                parameter.zero_()
    run = train(model, taught, 1e-3, 3)
    assert render.fall([run.held_out]) == "**does not fall**"


@pytest.mark.parametrize("name", NAMES)
def test_peft_starts_where_we_do(name: str) -> None:
    """Two runs from different starts say nothing about each other."""
    taught = task.data(rule=1, seed=10)
    model = task.base("Llama")
    put(name, model, taught, seed=0)
    other = beside(name, model, "Llama")
    assert (other.model is not None) is has_peft(name)
    if other.model is None:
        assert other.why_not == ONLY_OURS
        return
    with torch.no_grad():
        ours, theirs = (m.eval()(input_ids=taught.held_inputs).logits for m in (model, other.model))
    assert torch.allclose(ours, theirs, atol=1e-4)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert sum(p.numel() for p in other.tensors) == trained


@pytest.mark.slow
def test_two_processes_give_the_step_of_one() -> None:
    """A variant would train on several GPUs into something else, or not at all."""
    assert distributed.compared(NAMES) == dict.fromkeys(NAMES, "same")


def test_another_step_would_show() -> None:
    """The comparison of two processes with one would agree with anything."""
    taught = task.data(rule=1, seed=10)
    inputs, targets = taught.batch(0)
    whole = distributed.stepped("lora", taught, inputs, targets, wrap=False)
    half = distributed.stepped("lora", taught, inputs[:8], targets[:8], wrap=False)
    assert distributed.apart(whole, whole) == ""
    assert distributed.apart(half, whole).startswith("gradient")
    assert distributed.apart(({}, {}), whole) == "gradient: not the same tensors"
