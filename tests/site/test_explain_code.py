"""The code that ``conformance explain`` prints is run, and gives the figures of the check itself."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import replace

import pytest

from conformance.nouns.entry import Entry
from conformance.nouns.finding import Finding, Outcome
from conformance.planning.plan import Planned, make_plan
from conformance.planning.select import OWN, own_written
from conformance.reporting.explain.explain import Explained, explain
from conformance.reporting.explain.meaning import Meaning
from proof.seeded.registry import SEEDED_FAULTS, entry_of
from subjects.own.roster import ENTRIES

CONFIGURATION = "perturbed-f64-in12-out20-r4-alpha6-bias-batch5"
ALONE = ("lora", "delora", "ia3", "ia3_ff", "dora", "hra")
"""The variants whose every plain case against peft is a layer and a configuration."""


def planned_in(entry: Entry, check: str, probe: str = CONFIGURATION, reference: str = "peft:") -> Planned:
    """One case of an entry."""
    cases = [p for p in make_plan((entry,)) if p.case.check == check and p.case.reference.startswith(reference)]
    return next(p for p in cases if p.case.probe == probe or (probe == "" and not p.probe.label))


def explained(planned: Planned, finding: Finding) -> Explained:
    """What is told of a case with this finding."""
    return explain(planned, finding, "", place=OWN, write=own_written, meaning=Meaning(0, ()))


def measured(planned: Planned) -> Finding:
    """What the check itself sees."""
    from conformance.measuring.trial import Trial

    return planned.check.run(Trial(planned.entry, planned.reference, planned.probe, planned.check.name))


def printed(code: str) -> dict[str, tuple[float, float]]:
    """Run the code: what it prints, as thing -> (ours, peft's)."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "explained", "exec"), {"__name__": "explained"})
    lines = re.findall(r"^(.*): ours (\S+) peft (\S+) error", out.getvalue(), re.MULTILINE)
    return {what: (float(got), float(want)) for what, got, want in lines}


@pytest.mark.parametrize("name", ALONE)
def test_the_code_gives_the_figures_of_the_check(name: str) -> None:
    """A user would run another configuration than the one that was audited, and could not reproduce the finding."""
    planned = planned_in(next(e for e in ENTRIES if e.name == name), "forward")
    finding = measured(planned)
    told = explained(planned, finding)
    assert told.needs == "the variant and peft"
    assert not re.search(r"\b(conformance|refs|subjects)\b", told.code)
    got, want = printed(told.code)["output"]
    assert got == pytest.approx(
        want, rel=1e-5
    )  # they agree, so that any place may be the worst; the next test is exact
    assert finding.outcome is Outcome.AGREE


@pytest.mark.parametrize(
    ("seeded", "check", "what"),
    [
        ("LoRAAlphaNotDividedByRank", "forward", "output"),
        ("LoRAAlphaNotDividedByRank", "gradients", "gradient of B"),
    ],
)
def test_the_code_shows_a_seeded_fault_with_the_finding_s_own_figures(seeded: str, check: str, what: str) -> None:
    """The code would agree where the check differs: other tensors, another input, another seed."""
    entry = entry_of(next(each for each in SEEDED_FAULTS if each.name == seeded))
    planned = planned_in(entry, check)
    finding = measured(planned)
    assert finding.outcome is Outcome.DIFFER
    figures = printed(explained(planned, finding).code)
    assert figures[finding.what.removesuffix(" alone")] == pytest.approx(
        (float(finding.got), float(finding.want)), rel=1e-4
    )
    got, want = figures[what]
    assert abs(got - want) > 1e-3 * abs(want)


def test_dropout_draws_the_same_mask_in_the_code() -> None:
    """The printed numbers would differ where the check agrees."""
    planned = planned_in(
        next(e for e in ENTRIES if e.name == "lora"),
        "forward",
        "perturbed-f64-in12-out20-r4-alpha6-nobias-batch5-train-dropout=0.3",
    )
    code = explained(planned, measured(planned)).code
    assert "theirs.train()" in code
    got, want = printed(code)["output"]
    assert got == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "check", "probe", "reference"),
    [
        ("pissa", "forward", CONFIGURATION, "peft:"),
        ("lora", "forward", CONFIGURATION, "closed:"),
        ("lora", "forward", CONFIGURATION, "authors:"),
        ("lora", "init", "", "peft:"),
    ],
)
def test_what_takes_more_than_a_configuration_goes_through_the_harness(
    name: str, check: str, probe: str, reference: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The code would leave out what the reference was really built with, and still claim to be the case."""
    planned = planned_in(next(e for e in ENTRIES if e.name == name), check, probe, reference)
    told = explained(planned, measured(planned))
    assert "harness" in told.needs
    exec(compile(told.code, "explained", "exec"), {"__name__": "explained"})
    assert planned.case.id in capsys.readouterr().out


def test_a_subject_that_cannot_be_built_is_explained_all_the_same() -> None:
    """The one command that helps with a crash would crash."""

    def refuse(layer: object, settings: object) -> None:
        raise RuntimeError("no such layer")

    entry = replace(next(e for e in ENTRIES if e.name == "lora"), build=refuse)  # type: ignore[arg-type]
    planned = planned_in(entry, "forward")
    told = explained(planned, measured(planned))
    assert told.finding.raised
    assert "no such layer" in told.text()
