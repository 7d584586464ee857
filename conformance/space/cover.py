"""A covering array: few points that have every pair of values together, and every triple where code paths meet.

Greedy, one point at a time, and deterministic: a point begins with the first pair (or triple) that no point has yet,
and goes on with the value that brings the most new ones, an axis at a time; where the rules leave no value it goes
back. The libraries for this (covertable 3.2 among them) take seconds for an array of this size and cannot say which
rule left a pair out; here it is milliseconds, and each such pair has its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import Any

from conformance.space.axes import Axis, Point, Rule

PATIENCE = 1000
"""Steps of a search for one point; far more than any needs that exists."""


@dataclass(frozen=True)
class Covering:
    """The points; how many pairs of values they have; and the pairs that no point can have, with the reason.

    A pair counts where nothing in its point hides it: an empty batch covers the pairs of the empty batch, and no other.
    """

    points: tuple[Point, ...]
    pairs: int
    excused: tuple[tuple[str, str], ...] = ()
    """``axis=value with axis=value``, and why."""
    missing: tuple[str, ...] = ()
    """Pairs that no rule forbids and no point has: a fault of the search."""


@dataclass
class _Search:
    axes: Sequence[Axis]
    rules: Sequence[Rule]
    uncovered: dict[int, int] = field(default_factory=dict)
    """Value -> the values (as bits) that it has not met yet."""
    triples: set[tuple[tuple[int, str], ...]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.where = [(a, v) for a, axis in enumerate(self.axes) for v in axis.values]
        self.of_axis: list[list[int]] = [[] for _ in self.axes]
        for number, (a, _) in enumerate(self.where):
            self.of_axis[a].append(number)
        self.mask = [sum(1 << n for n in numbers) for numbers in self.of_axis]
        places = {axis.name: a for a, axis in enumerate(self.axes)}
        known = [rule for rule in self.rules if all(name in places for name in rule.axes)]
        self.reasons: dict[tuple[int, int], str] = {}
        everything = (1 << len(self.where)) - 1
        self.allowed = [everything & ~self.mask[a] for a, _ in self.where]
        for rule in known:
            if len(rule.axes) == 2:
                self._forbid(rule, *(places[name] for name in rule.axes))
        self.wide = [(tuple(places[name] for name in rule.axes), rule) for rule in known if len(rule.axes) > 2]
        self.wide_of: list[list[tuple[tuple[int, ...], Rule]]] = [
            [each for each in self.wide if a in each[0]] for a in range(len(self.axes))
        ]
        self.strong = [a for a, axis in enumerate(self.axes) if axis.paths is not None]
        # What a wide rule speaks of comes first: it decides early what would fail late.
        self.order = sorted(
            range(len(self.axes)), key=lambda a: (not self.wide_of[a], a not in self.strong, -len(self.of_axis[a]), a)
        )
        self.paths = [self.axes[a].path(value) for a, value in self.where]
        self.uncovered = dict(enumerate(self.allowed))
        self.hiding = sum(1 << n for n, (a, value) in enumerate(self.where) if value in self.axes[a].hiding)
        self.threes = [three for three in combinations(self.strong, 3) if sum(self.axes[a].option for a in three) <= 1]
        self.threes_of = [[three for three in self.threes if a in three] for a in range(len(self.axes))]
        for three in self.threes:
            ways = [dict.fromkeys(self.paths[n] for n in self.of_axis[a]) for a in three]
            self.triples |= {tuple(zip(three, paths)) for paths in product(*ways)}

    def _forbid(self, rule: Rule, a: int, b: int) -> None:
        for m, n in product(self.of_axis[a], self.of_axis[b]):
            if rule.forbids(self.where[m][1], self.where[n][1]):
                self.allowed[m] &= ~(1 << n)
                self.allowed[n] &= ~(1 << m)
                self.reasons[min(m, n), max(m, n)] = rule.why

    def complete(self, row: dict[int, int], blocked: dict[str, None]) -> dict[int, int] | None:
        """A whole row with these values, by axis; None if there is none. ``blocked`` gets the rules that stood in the
        way.
        """
        self.steps = 0
        candidates = (1 << len(self.where)) - 1
        for n in row.values():
            candidates &= self.allowed[n] | (1 << n)
        if any(not candidates >> n & 1 for n in row.values()) or not self._sound(row, blocked):
            return None
        return self._extend(dict(row), candidates, blocked)

    def _extend(self, row: dict[int, int], candidates: int, blocked: dict[str, None]) -> dict[int, int] | None:
        left = [a for a in self.order if a not in row]
        if not left:
            return row
        self.steps += 1
        if self.steps > PATIENCE:
            return None
        axis, rest = left[0], left[1:]
        chosen = sum(1 << n for n in row.values())
        options = [n for n in self.of_axis[axis] if candidates >> n & 1]
        for n in sorted(options, key=lambda n: self._loss(n, axis, row, chosen)) if len(options) > 1 else options:
            row[axis] = n
            narrowed = candidates & (self.allowed[n] | (1 << n))
            if all(narrowed & self.mask[a] for a in rest) and self._sound(row, blocked, axis):
                found = self._extend(row, narrowed, blocked)
                if found is not None:
                    return found
            del row[axis]
        return None

    def _loss(self, n: int, axis: int, row: dict[int, int], chosen: int) -> tuple[bool, int, int, int]:
        """Smaller for a value that brings more new pairs and triples, and that has more to come."""
        hides = bool(self.hiding >> n & 1) and not chosen & self.hiding
        new = 3 * (self.uncovered[n] & chosen).bit_count()
        for three in self.threes_of[axis] if self.triples else ():
            if all(a == axis or a in row for a in three):
                new += tuple((a, self.paths[n if a == axis else row[a]]) for a in three) in self.triples
        return hides, -new, -self.uncovered[n].bit_count(), n

    def _sound(self, row: dict[int, int], blocked: dict[str, None], new: int | None = None) -> bool:
        for places, rule in self.wide if new is None else self.wide_of[new]:
            if all(a in row for a in places) and rule.forbids(*(self.where[row[a]][1] for a in places)):
                blocked[rule.why] = None
                return False
        return True

    def conflict(self, m: int, n: int) -> dict[str, None]:
        """Why two values that may meet leave another axis without a value."""
        both = self.allowed[m] & self.allowed[n]
        axes = [a for a in range(len(self.axes)) if a not in (self.where[m][0], self.where[n][0])]
        found: dict[str, None] = {}
        for a in axes:
            if not both & self.mask[a]:
                for k in self.of_axis[a]:
                    for one in (m, n):
                        found[self.reasons.get((min(one, k), max(one, k)), "")] = None
        return {why: None for why in found if why}

    def take(self, row: dict[int, int]) -> None:
        """The row is a point: its pairs and triples are covered."""
        chosen = sum(1 << n for n in row.values())
        hidden = chosen & self.hiding
        for n in row.values():
            self.uncovered[n] &= ~(hidden if hidden and not self.hiding >> n & 1 else chosen)
        for three in self.threes:
            if not hidden or any(self.hiding >> row[a] & 1 for a in three):
                self.triples.discard(tuple((a, self.paths[row[a]]) for a in three))

    def first_pair(self) -> tuple[int, int] | None:
        """The first pair of values that no point has."""
        for n, others in self.uncovered.items():
            if others:
                return n, (others & -others).bit_length() - 1
        return None

    def told(self, m: int, n: int) -> str:
        """A pair in words."""
        return " with ".join(f"{self.axes[a].name}={value}" for a, value in (self.where[m], self.where[n]))


def cover(axes: Sequence[Axis], rules: Sequence[Rule] = (), presets: Iterable[Point] = ()) -> Covering:
    """Points over all axes, the ``presets`` first."""
    search = _Search(axes, rules)
    numbers = {(a, repr(value)): n for n, (a, value) in enumerate(search.where)}
    rows: list[dict[int, int]] = []
    for point in presets:
        rows.append({a: numbers[a, repr(point[axis.name])] for a, axis in enumerate(axes)})
        search.take(rows[-1])
    excused = [(search.told(m, n), why) for (m, n), why in search.reasons.items()]
    missing: list[str] = []
    for row in _seeded(search, excused, missing):
        rows.append(row)
        search.take(row)
    points = tuple({axis.name: search.where[row[a]][1] for a, axis in enumerate(axes)} for row in rows)
    every = sum(len(one.values) * len(two.values) for one, two in combinations(axes, 2))
    return Covering(points, every - len(excused) - len(missing), tuple(excused), tuple(missing))


def _seeded(search: _Search, excused: list[tuple[str, str]], missing: list[str]) -> Iterator[dict[int, int]]:
    for triple in sorted(search.triples):
        if triple in search.triples:
            ways = [[n for n in search.of_axis[a] if search.paths[n] == path] for a, path in triple]
            seeds = (dict(zip((a for a, _ in triple), values)) for values in product(*ways))
            row = next((found for seed in seeds if (found := search.complete(seed, {}))), None)
            if row is not None:
                yield row
            search.triples.discard(triple)
    while (pair := search.first_pair()) is not None:
        m, n = pair
        blocked: dict[str, None] = {}
        row = search.complete({search.where[m][0]: m, search.where[n][0]: n}, blocked)
        if row is not None:
            yield row
            continue
        search.uncovered[m] &= ~(1 << n)
        search.uncovered[n] &= ~(1 << m)
        blocked |= search.conflict(m, n)
        if blocked and search.steps <= PATIENCE:
            excused.append((search.told(m, n), "no test configuration can have both: " + "; ".join(blocked)))
        else:
            missing.append(search.told(m, n))


def values_of(points: Iterable[Point], name: str) -> list[Any]:
    """The values that some points have on an axis, each once."""
    return list(dict.fromkeys(point[name] for point in points))
