"""The one error type of the runtime: got, want, where, what to do next."""

from __future__ import annotations


class AdapterError(ValueError):
    """Raised for every bad input. The model is as it was before the call.

    The message always has the same four parts, so that a reader (or a test) finds them without parsing prose.
    """

    def __init__(self, *, got: object, want: object, where: str, fix: str) -> None:
        self.got, self.want, self.where, self.fix = str(got), str(want), where, fix
        super().__init__(f"{where}: got {got}; want {want}. {fix}")
