"""An `AFTER` is added below `STAGE`, and nothing else of the text changes."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.source.after_tag import add_after, after_line


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ((), "AFTER = ()"),
        (("fetch",), 'AFTER = "fetch"'),
        (("a.fetch", "parse"), 'AFTER = ("a.fetch", "parse")'),
    ],
)
def test_the_line_is_the_shortest_form(names: tuple[str, ...], line: str) -> None:
    assert after_line(names) == line
    assert add_after(b'STAGE = "s"\n', names) == f'STAGE = "s"\n{line}\n'.encode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'STAGE = "s"', b'STAGE = "s"\nAFTER = ()\n'),
        (b'STAGE = "s"\r\nx = 1\r\n', b'STAGE = "s"\r\nAFTER = ()\r\nx = 1\r\n'),
        (b'STAGE = "s"  # why\n', b'STAGE = "s"  # why\nAFTER = ()\n'),
        (
            b'STAGE = (\n    "s",  # one\n)\nx = 1',
            b'STAGE = (\n    "s",  # one\n)\nAFTER = ()\nx = 1',
        ),
        (b'STAGE = "s"; x = (1,\n 2)\ny = 1\n', b'STAGE = "s"; x = (1,\n 2)\nAFTER = ()\ny = 1\n'),
        (b'STAGE: str = "s"\n', b'STAGE: str = "s"\nAFTER = ()\n'),
        (b'STAGE = "old"\nSTAGE = "s"\n', b'STAGE = "old"\nSTAGE = "s"\nAFTER = ()\n'),
        (
            b'# coding: latin-1\nSTAGE = "s"\nx = "\xe9"\n',
            b'# coding: latin-1\nSTAGE = "s"\nAFTER = ()\nx = "\xe9"\n',
        ),
        (b'\xef\xbb\xbfSTAGE = "s"\n', b'\xef\xbb\xbfSTAGE = "s"\nAFTER = ()\n'),
    ],
)
def test_comments_line_ends_and_encodings_stay(before: bytes, after: bytes) -> None:
    assert add_after(before, ()) == after


@pytest.mark.parametrize(
    "text",
    [b"x = 1\n", b'STAGE = "s"\nAFTER = "a"\n', b'if 1:\n    STAGE = "s"\n', b"STAGE = (\n", b""],
)
def test_where_it_cannot_stand_nothing_is_added(text: bytes) -> None:
    assert add_after(text, ()) is None


def test_a_name_that_the_encoding_does_not_have_is_not_written() -> None:
    assert add_after(b'# coding: ascii\nSTAGE = "s"\n', ("é",)) is None


@given(
    st.lists(
        st.sampled_from(
            [
                'STAGE = "s"',
                "x = 1; y = 2",
                '"""text\nSTAGE = 1\n"""',
                "# note",
                "",
                "def f(): pass",
            ]
        ),
        max_size=6,
    ),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_the_changed_text_means_the_same_and_an_after(lines: list[str], newline: str) -> None:
    before = "".join(line + newline for line in lines).encode()
    after = add_after(before, ("a",))
    assert (after is None) is ('STAGE = "s"' not in lines)
    if after is not None:
        statements = ast.parse(after).body
        assert len(statements) == len(ast.parse(before).body) + 1
        line = b'AFTER = "a"' + newline.encode()
        assert after.replace(line, b"", 1).rstrip() == before.rstrip()
