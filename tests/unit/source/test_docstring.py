"""`docstring` by itself: the three styles, alone and mixed, and text that is none of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from discover_orch.source.literals import first_line
from discover_orch.source.literals import param_help as read_help


def param_help(
    text: str | None, names: str = "source since until args extra a b"
) -> dict[str, str]:
    return read_help(text, names.split())


def test_first_line_is_folded_and_can_be_shown() -> None:
    assert first_line("\n\n   Fetch   it.\n  More.\n") == "Fetch it."
    assert first_line(" \n\t\n") == first_line(None) == ""
    assert first_line("a\ud800b") == "a?b"


@given(st.text(alphabet=st.sampled_from(list("ab :*-\n()\t,.")) | st.characters()))
def test_no_text_makes_it_raise(text: str) -> None:
    for sample in (text, "Args:\n" + text, "Parameters\n----\n" + text, ":param a:" + text):
        for name, help_text in param_help(sample).items():
            assert "\n" not in help_text
            assert name == name.strip()
        first_line(sample).encode()
