"""The mistakes: for a node of the syntax tree, what could stand there instead.

Libraries for mutation testing run a test suite over mutated files; here a mutant must go before the harness as an
entry, inside one process, and the mistakes are those of this field. So they are made on the syntax tree.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator

Change = tuple[str, ast.AST]
"""Name of the operator, and the node in the other's place."""

SWAPPED: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
}
DROPPED_CALLS = frozenset(
    "detach flip clamp clip to abs sqrt rsqrt square sign exp double float triu tril roll neg reciprocal clone".split()
)
"""Methods without which their object is still a tensor."""
INITIAL = {
    "zeros": ("ones", "kaiming"),
    "ones": ("zeros", "near_one"),
    "kaiming": ("zeros", "ones"),
    "near_zero": ("zeros",),
}
BOTH_WAYS = ("min max", "sum mean", "cos sin", "triu tril", "ones zeros", "amax amin")
PAIRS = {a: b for pair in map(str.split, BOTH_WAYS) for a, b in (pair, pair[::-1])} | {"elu": "relu"}


def changes(node: ast.AST, tensors: frozenset[str]) -> Iterator[Change]:
    """Every mistake at this node. ``tensors``: names of the adapter's tensors, which a mistake may detach."""
    for kind, make in MAKERS:
        if isinstance(node, kind):
            yield from make(node, tensors)


def _binary(node: ast.BinOp, tensors: frozenset[str]) -> Iterator[Change]:
    for other in SWAPPED.get(type(node.op), ()):
        yield "other operation", _with(node, op=other())
    if isinstance(node.op, ast.MatMult):
        yield "operands of a product swapped", _with(node, left=node.right, right=node.left)
        return
    what = "factor" if isinstance(node.op, ast.Mult | ast.Div) else "term"
    if isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div):
        yield f"{what} dropped", node.left
        yield f"{what} dropped", node.right
    if isinstance(node.op, ast.Pow):
        yield "power dropped", node.left


def _unary(node: ast.UnaryOp, tensors: frozenset[str]) -> Iterator[Change]:
    if isinstance(node.op, ast.USub | ast.Not):
        yield "sign dropped" if isinstance(node.op, ast.USub) else "condition negated", node.operand


def _compare(node: ast.Compare, tensors: frozenset[str]) -> Iterator[Change]:
    for other in SWAPPED.get(type(node.ops[0]), ()):
        yield "other comparison", _with(node, ops=[other(), *node.ops[1:]])


def _bool(node: ast.BoolOp, tensors: frozenset[str]) -> Iterator[Change]:
    yield "and for or", _with(node, op=SWAPPED[type(node.op)][0]())


def _conditional(node: ast.IfExp, tensors: frozenset[str]) -> Iterator[Change]:
    yield "branches swapped", _with(node, body=node.orelse, orelse=node.body)


def _if(node: ast.If, tensors: frozenset[str]) -> Iterator[Change]:
    yield "condition negated", _with(node, test=ast.UnaryOp(ast.Not(), node.test))


def _constant(node: ast.Constant, tensors: frozenset[str]) -> Iterator[Change]:
    value = node.value
    if isinstance(value, bool):
        yield "flag flipped", ast.Constant(not value)
    elif isinstance(value, int):
        yield "other number", ast.Constant(value + 1)
        if value:
            yield "other number", ast.Constant(value - 1)
    elif isinstance(value, float):
        yield "other number", ast.Constant(2 * value if value else 1.0)
        if value:
            yield "other number", ast.Constant(0.0)
    elif isinstance(value, str):
        for other in INITIAL.get(value, ()):
            yield "other initial value", ast.Constant(other)


def _call(node: ast.Call, tensors: frozenset[str]) -> Iterator[Change]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value
        library = isinstance(owner, ast.Name) and owner.id in ("torch", "F", "math", "nn")
        if name in DROPPED_CALLS and not library:
            yield f".{name}() dropped", owner
        if name in PAIRS:
            yield "other function", _with(node, func=_with(node.func, attr=PAIRS[name]))
        if name in ("elu", "relu", "dropout", "qr", "tanh", "softplus") and library and node.args:
            yield f"{name} dropped", node.args[0]
    if name in ("min", "max") and isinstance(node.func, ast.Name):
        yield "other function", _with(node, func=ast.Name(PAIRS[name], ast.Load()))
    if name == "to" and len(node.args) == 1 and not node.keywords:
        yield "other dtype", _with(node, args=[_dotted(ast.Name("torch", ast.Load()), "float32")])
    if name == "TensorSpec" and not any(k.arg in ("buffer", "kept") for k in node.keywords):
        yield "frozen", _with(node, keywords=[*node.keywords, ast.keyword("trainable", ast.Constant(False))])
        yield "a buffer", _with(node, keywords=[*node.keywords, ast.keyword("buffer", ast.Constant(True))])
    if name == "promote_types":
        yield "dtype not promoted", node.args[0]
        yield "dtype not promoted", node.args[1]
    if name == "linear" and len(node.args) > 1:
        yield "transposed", _with(node, args=[node.args[0], _dotted(node.args[1], "T"), *node.args[2:]])
        if len(node.args) > 2:
            yield "bias dropped", _with(node, args=node.args[:2])
    if name == "row_norm":
        yield "columns for rows", _with(node, args=[_dotted(node.args[0], "T")])
    for index, keyword in enumerate(node.keywords):
        if keyword.arg in ("min", "max", "alpha", "beta", "dim", "buffer", "trainable", "kept"):
            yield f"{keyword.arg} dropped", _with(node, keywords=node.keywords[:index] + node.keywords[index + 1 :])


def _attribute(node: ast.Attribute, tensors: frozenset[str]) -> Iterator[Change]:
    if not isinstance(node.ctx, ast.Load):
        return
    if node.attr in ("T", "mT"):
        yield "not transposed", node.value
    own = isinstance(node.value, ast.Name) and node.value.id == "self"
    if own and node.attr in tensors:
        yield ".detach() added", ast.Call(_dotted(node, "detach"), [], [])
    if own and node.attr == "training":
        yield "condition negated", ast.UnaryOp(ast.Not(), node)


def _slice(node: ast.Subscript, tensors: frozenset[str]) -> Iterator[Change]:
    if not isinstance(node.ctx, ast.Load):
        return
    cut = node.slice
    if isinstance(cut, ast.Slice) and cut.upper is not None and cut.lower is None:
        yield "the other part", _with(node, slice=ast.Slice(cut.upper, None))
        yield "the whole", _with(node, slice=ast.Slice(None, None))
    elif isinstance(cut, ast.Slice) and cut.lower is not None and cut.upper is None:
        yield "the other part", _with(node, slice=ast.Slice(None, cut.lower))
    if isinstance(cut, ast.Tuple) and len(cut.elts) == 2:
        yield "other axis", _with(node, slice=ast.Tuple(cut.elts[::-1], ast.Load()))


def _loop(node: ast.For, tensors: frozenset[str]) -> Iterator[Change]:
    yield "loop reversed", _with(node, iter=_reversed(node.iter))


def _comprehension(node: ast.comprehension, tensors: frozenset[str]) -> Iterator[Change]:
    yield "loop reversed", _with(node, iter=_reversed(node.iter))
    for index in range(len(node.ifs)):
        yield "condition dropped", _with(node, ifs=node.ifs[:index] + node.ifs[index + 1 :])


def _statement(node: ast.stmt, tensors: frozenset[str]) -> Iterator[Change]:
    yield "statement dropped", ast.Pass()


def _assignment(node: ast.Assign, tensors: frozenset[str]) -> Iterator[Change]:
    names = {target.id for target in node.targets if isinstance(target, ast.Name)}
    if any(isinstance(n, ast.Name) and n.id in names for n in ast.walk(node.value)):
        yield "statement dropped", ast.Pass()


def _augmented(node: ast.AugAssign, tensors: frozenset[str]) -> Iterator[Change]:
    for other in SWAPPED.get(type(node.op), ()):
        yield "other operation", _with(node, op=other())


MAKERS: tuple[tuple[type, Callable[..., Iterator[Change]]], ...] = (
    (ast.BinOp, _binary),
    (ast.UnaryOp, _unary),
    (ast.Compare, _compare),
    (ast.BoolOp, _bool),
    (ast.IfExp, _conditional),
    (ast.If, _if),
    (ast.Constant, _constant),
    (ast.Call, _call),
    (ast.Attribute, _attribute),
    (ast.Subscript, _slice),
    (ast.For, _loop),
    (ast.comprehension, _comprehension),
    (ast.Expr, _statement),
    (ast.Assign, _assignment),
    (ast.AugAssign, _statement),
    (ast.AugAssign, _augmented),
    (ast.If, _statement),
)


def _with(node: ast.AST, **fields: object) -> ast.AST:
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def _dotted(value: ast.expr, attr: str) -> ast.Attribute:
    return ast.Attribute(value, attr, ast.Load())


def _reversed(value: ast.expr) -> ast.Call:
    inner = ast.Call(ast.Name("list", ast.Load()), [value], [])
    return ast.Call(ast.Name("reversed", ast.Load()), [inner], [])
