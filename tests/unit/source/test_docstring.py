"""`docstring` by itself: the three styles, alone and mixed, and text that is none of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.source.literals import first_line
from discover_orch.source.literals import param_help as read_help

GOOGLE = """Fetch it.

    Args:
        source (str, optional): Where it
            comes from.

            A second paragraph.
        since: Only newer: rows.
        *args, **extra: Ignored.

    Returns:
        limit: not a parameter.
    """

NUMPY = """Fetch it.

    Parameters
    ----------
    source : str, default "x"
        Where it
        comes from.

        A second paragraph.
    since, until
        Only rows between.

    Returns
    -------
    limit : int
        Not a parameter.
    """

SPHINX = """Fetch it.

    :param source: Where it
        comes from.
    :param int since: Only newer rows.
    :type since: int
    :returns: limit
    """


def param_help(
    text: str | None, names: str = "source since until args extra a b"
) -> dict[str, str]:
    return read_help(text, names.split())


def test_google() -> None:
    assert param_help(GOOGLE) == {
        "source": "Where it comes from.",
        "since": "Only newer: rows.",
        "args": "Ignored.",
        "extra": "Ignored.",
    }


def test_numpy() -> None:
    assert param_help(NUMPY) == {
        "source": "Where it comes from.",
        "since": "Only rows between.",
        "until": "Only rows between.",
    }


def test_sphinx() -> None:
    assert param_help(SPHINX) == {
        "source": "Where it comes from.",
        "since": "Only newer rows.",
    }


def test_styles_may_be_mixed() -> None:
    assert param_help("x\n\nArgs:\n    a: One.\n\n:param b: Two.\n") == {"a": "One.", "b": "Two."}


@pytest.mark.parametrize(
    "text", [None, "", "One line.", "Args: none.", "Args:\n", "Parameters\n---"]
)
def test_nothing_is_required(text: str | None) -> None:
    assert param_help(text) == {}


def test_only_what_is_a_parameter_is_told_of() -> None:
    assert param_help("Args:\n    c: Three.\n    a: One.\n\nNote: a.\nb") == {"a": "One."}


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
