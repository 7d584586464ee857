"""The mutation testing itself: what it changes, that it leaves no trace, and a sample of the mutants."""

from __future__ import annotations

import ast
import difflib
import sys

import pytest

from conformance.nouns.entry import ROOT
from proof.mutation import operators, runtime
from proof.mutation.known import KNOWN
from proof.mutation.mutants import SHARED, Mutant, files, mutants
from proof.mutation.run import controls, sample
from proof.mutation.trial import KILLED, TIMED_OUT, loaded, try_mutant

pytestmark = pytest.mark.integration

SAMPLE = sample(24, seed=7)
ORDINARY = SAMPLE[2:18]
"""Those that the ordinary run tries; ``python -m proof`` tries all mutants."""


def changed(source: str) -> set[tuple[str, str]]:
    """Operator and resulting code of every change to the one expression in ``source``."""
    tree = ast.parse(source, mode="eval").body
    made = operators.changes(tree, frozenset({"A"}))
    return {(name, ast.unparse(ast.fix_missing_locations(new))) for name, new in made}


@pytest.mark.parametrize(
    ("source", "operator", "after"),
    [
        ("y + s * u", "other operation", "y - s * u"),
        ("s * u", "factor dropped", "u"),
        ("alpha / r", "other operation", "alpha * r"),
        ("y + b", "term dropped", "y"),
        ("B @ A", "operands of a product swapped", "A @ B"),
        ("U.T", "not transposed", "U"),
        ("F.linear(x, A)", "transposed", "F.linear(x, A.T)"),
        ("w.detach()", ".detach() dropped", "w"),
        ("self.A", ".detach() added", "self.A.detach()"),
        ("row_norm(V)", "columns for rows", "row_norm(V.T)"),
        ("n.clamp(min=c)", ".clamp() dropped", "n"),
        ("n.clamp(min=c)", "min dropped", "n.clamp()"),
        ("x.to(d)", ".to() dropped", "x"),
        ("x.to(d)", "other dtype", "x.to(torch.float32)"),
        ("TensorSpec(shape, 'zeros')", "frozen", "TensorSpec(shape, 'zeros', trainable=False)"),
        ("TensorSpec(shape, 'zeros')", "a buffer", "TensorSpec(shape, 'zeros', buffer=True)"),
        ("TensorSpec(shape, kept=True)", "kept dropped", "TensorSpec(shape)"),
        ("'zeros'", "other initial value", "'ones'"),
        ("0.5", "other number", "0.0"),
        ("True", "flag flipped", "False"),
        ("S[:r]", "the other part", "S[r:]"),
        ("s[:, None]", "other axis", "s[None, :]"),
        ("a < b", "other comparison", "a <= b"),
        ("-x", "sign dropped", "x"),
        ("F.dropout(x, p, t)", "dropout dropped", "x"),
        ("self.training", "condition negated", "not self.training"),
        ("[u for u in U]", "", ""),
    ],
)
def test_operators_make_the_mistakes_of_this_field(source: str, operator: str, after: str) -> None:
    """A kind of mistake that people make would never be tried."""
    made = changed(source)
    assert (operator, after) in made if operator else not made


def test_loops_are_reversed_and_statements_dropped() -> None:
    """A product in reverse order, or a forgotten line, would never be tried."""
    loop = ast.parse("for u in U:\n    h = h - u").body[0]
    assert "reversed(list(U))" in " ".join(ast.unparse(new) for _, new in operators.changes(loop, frozenset()))
    again = ast.parse("h = h - u").body[0]
    assert [name for name, _ in operators.changes(again, frozenset())] == ["statement dropped"]


def test_every_file_has_mutants_and_no_two_are_one() -> None:
    """A variant would be left out, or the share that is killed would count some mutants twice."""
    everyone = mutants()
    assert {m.file for m in everyone} == set(files())
    assert len({(m.path, m.file, m.nth) for m in everyone}) == len(everyone)
    assert all(m.before != m.after for m in everyone)
    assert len(everyone) > 500


def test_a_mutant_differs_from_its_file_in_one_place() -> None:
    """Two mistakes at once may hide each other, and none at all would read as a survivor."""
    for mutant in SAMPLE:
        text = (ROOT / mutant.file).read_text(encoding="utf-8")
        lines = [ast.unparse(tree).splitlines() for tree in (ast.parse(text), mutant.tree())]
        apart = [d for d in difflib.ndiff(*lines) if d[:1] in "+-"]
        assert apart, mutant.key
        assert len(apart) <= 2 * (1 + mutant.before.count(":") + mutant.after.count(":")) + 8


def test_the_real_modules_stay() -> None:
    """A mistake would live on in everything that runs after it in the same process."""
    mutant = next(m for m in mutants() if m.file == "variants/lora.py")
    before = {name: module for name, module in sys.modules.items() if name.startswith("variants")}
    with loaded(mutant.file, mutant) as classes:
        assert set(classes) == set(SHARED[mutant.file])
        assert classes["lora"] is not sys.modules["variants"].VARIANTS[0]
        assert classes["eva"].__mro__[1] is classes["lora"]
    assert {name: module for name, module in sys.modules.items() if name.startswith("variants")} == before


@pytest.mark.parametrize("file", ["variants/lora.py", "variants/hra.py", "variants/antipasto_arrow.py"])
@pytest.mark.parametrize("every", [12, pytest.param(1, marks=pytest.mark.slow)])
def test_without_a_mistake_nothing_is_killed(file: str, every: int) -> None:
    """Everything would be killed by the way it is loaded, and the share would say nothing."""
    assert controls(workers=1, chosen=[file], every=every) == {file: ""}


@pytest.mark.parametrize(
    "mutant",
    [*ORDINARY, *(pytest.param(mutant, marks=pytest.mark.slow) for mutant in SAMPLE if mutant not in ORDINARY)],
    ids=lambda m: f"{m.file}:{m.line} {m.operator}",
)
def test_a_sample_of_the_mutants(mutant: Mutant) -> None:
    """A mistake in a variant's own code would pass the whole audit."""
    tried = try_mutant(mutant)
    assert tried.status in (KILLED, TIMED_OUT) or tried.reason, f"{tried.before} -> {tried.after}: alive, and unknown"


@pytest.mark.slow
@pytest.mark.parametrize(
    "mutant",
    sample(4, seed=3, of=[m for m in mutants() if m.key in KNOWN]),
    ids=lambda m: f"{m.file}:{m.line} {m.operator}",
)
def test_those_known_to_live_do(mutant: Mutant) -> None:
    """A mistake that the harness sees would be listed as one that it need not see."""
    tried = try_mutant(mutant, again=True)
    assert not tried.killer
    assert tried.reason


def test_everyone_known_is_a_mutant() -> None:
    """The list would speak of code that is not there any more."""
    assert set(KNOWN) <= {m.key for m in (*mutants(), *runtime.sample())}


def test_the_sample_of_the_runtime_is_the_same_and_has_every_file() -> None:
    """The figure would change by chance, or a file would be in the table that nothing was tried in."""
    drawn = runtime.sample()
    assert drawn == runtime.sample()
    assert {m.file for m in drawn} == {guard.file for guard in runtime.GUARDS}
    for guard in runtime.GUARDS:
        assert all((ROOT / file).is_file() for file in guard.tests)


@pytest.mark.slow
def test_a_mutant_of_the_runtime_is_told_and_its_file_as_it_is_is_not() -> None:
    """Everything would be killed by the way it is run, or a mistake would never get into the code that runs."""
    file = "variants/runtime/numerics/products.py"
    mutant = next(
        m for m in runtime.mutants_of(file) if m.function == "plus_product" and m.operator == "factor dropped"
    )
    assert runtime.control(file) == ""
    assert runtime.try_runtime(runtime.Job(mutant, again=True)).killer.startswith("tests/variants/test_products.py")
