"""Any words after ``conformance list``: a listing, or status 2 with one line that says why."""

from __future__ import annotations

import contextlib
import io

from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.cli import main
from tests.fuzz.worlds import FEW

WORDS = st.one_of(
    st.sampled_from(
        ("lora", "dora", "Lora", "lor", "all", "*", "--", "-x", "--case", "", "--entries", "--entries=", "--entries=:")
    ),
    st.sampled_from(("--entries=os:path", "--entries=os:sep", "--entries=no_such_module:ALL", "--entries=json")),
    st.text(max_size=4),
)


@settings(FEW, max_examples=60)
@given(st.lists(WORDS, max_size=3))
def test_list(words: list[str]) -> None:
    """Otherwise a slip of the pen would end in a traceback, or in status 0 with nothing listed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status: object = main(["list", *words])
        except SystemExit as stop:  # argparse
            status = stop.code
    assert status in (0, 2)
    if status == 0:
        assert out.getvalue().strip()
        assert not err.getvalue()
    else:
        assert err.getvalue().strip()
        assert "Traceback" not in err.getvalue()
