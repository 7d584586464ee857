"""``@conforms_to("peft:dora")``: one's own class, or a function that puts it on a layer, becomes tests of one's own.

Nothing heavy is imported here: a project's test file is only read until pytest collects it (``pytest_plugin``).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conformance.foreign.asked import Asked
    from refs.reference import Method

FIXTURE = "conformance_check"
"""The parameter that the plugin fills: a check's name, ``entry`` or ``verdict``. Without the plugin, pytest says that
there is no such fixture: no test passes unasked."""


ENTRY, VERDICT = "entry", "verdict"
"""The tests beside those of the checks: is the entry itself right (only if it is not), and what does all of it say?"""


class MinorFinding(UserWarning):
    """Stricter than the reference, or different in float64 only: listed, and no failure."""


def conforms_to(method: str | Method, **more: Any) -> Callable[[Any], Callable[..., None]]:
    """Turn a class, or ``def test_x(layer, settings): return module``, into tests: one for each check, and the verdict.

    ``method``: as in ``conformance.entry``, and ``more`` its other arguments (``names``, ``promises``...). A class is
    called by what its constructor's parameters are named (``in_features``, ``r``, ``base_layer``...). A mistake in the
    entry is the one test ``entry``, which fails. What is stricter than the reference, or differs in float64 only, is a
    ``MinorFinding`` and no failure. The result names the entry for ``conformance audit --entries FILE:NAME``.
    TypeError where the method is left out.
    """
    if callable(method):
        raise TypeError(f'conforms_to: got {method!r}, want a method first. Write @conforms_to("peft:lora") over it.')

    def over(code: Any) -> Callable[..., None]:
        made: list[Asked] = []

        def asked() -> Asked:
            if not made:
                from conformance.foreign.asked import Asked

                made.append(Asked(code, method, more))
            return made[0]

        def conforms(request: Any, conformance_check: str) -> None:
            from conformance.foreign.pytest_plugin import tell

            tell(asked(), request.node, conformance_check)

        conforms.__name__ = conforms.__qualname__ = code.__name__
        conforms.__doc__ = inspect.getdoc(code)
        conforms.__module__ = code.__module__
        conforms.place_as = code  # type: ignore[attr-defined]  # where pytest says that the test is
        conforms.conformance_asked = asked  # type: ignore[attr-defined]
        return conforms

    over.conformance_unfinished = f"conforms_to({getattr(method, 'name', method)!r})"  # type: ignore[attr-defined]
    return over
