"""What an expression says without being run: as Python would, or nothing."""

from __future__ import annotations

import ast
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.source.literals import (
    MAX_INT_BITS,
    NotLiteral,
    docstring_of,
    is_showable,
    literal,
    text_of,
)

texts = st.text(st.characters(codec="utf-8"), max_size=8)
numbers = st.integers(-(2**80), 2**80) | st.floats(allow_nan=False, allow_infinity=False)
literals = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def listed(value: object) -> object:
    """Tuples as lists, at any depth."""
    if isinstance(value, tuple | list):
        return [listed(item) for item in value]
    if isinstance(value, dict):
        return {name: listed(item) for name, item in value.items()}
    return value


@given(literals)
def test_what_is_written_is_what_is_read_and_json_can_hold_it(value: object) -> None:
    found = literal(expression(repr(value)))
    assert found == value
    assert json.loads(json.dumps(found)) == value


@pytest.mark.parametrize(
    "text",
    [
        "('a', ('b', []))",
        "{'a': (1, 2), 'b' 'c': None}",
        "-1",
        "+1.5",
        "- - 2",
        "'a' + 'b' + ('c' + 'd')",
        "f'a{{b}}' 'c'",
        "{'a' + 'b': f'c'}",
        "{'a': 1, 'a': 2}",
        "0x10",
        "1_000",
        "True",
    ],
)
def test_a_literal_in_any_form_means_what_python_says(text: str) -> None:
    assert literal(expression(text)) == listed(eval(text))


@pytest.mark.parametrize(
    "text",
    [
        "b'x'",
        "...",
        "1j",
        "{1}",
        "{}.get",
        "x",
        "f()",
        "1 + 1",
        "'a' * 2",
        "'a' + b",
        "'a' % ()",
        "-'a'",
        "-True",
        "not 1",
        "~1",
        "f'{x}'",
        "[*a]",
        "{**a}",
        "{1: 2}",
        "{b'a': 2}",
        "[x for x in ()]",
        "1e999",
        "-1e999",
        "'\\ud800'",
        "{'\\ud800': 1}",
        "'a' + '\\ud800'",
        str(2**MAX_INT_BITS),
    ],
)
def test_what_is_computed_or_no_file_could_hold_is_no_literal(text: str) -> None:
    with pytest.raises(NotLiteral):
        literal(expression(text))


def test_the_largest_number_can_be_written_down_again() -> None:
    largest = 2**MAX_INT_BITS - 1
    assert literal(ast.Constant(largest)) == int(str(largest)) == largest


def deep(kind: str, levels: int = 100_000) -> ast.expr:
    """Deeper than the parser itself would go: no text has such a tree, but nothing may rely on it."""
    node: ast.expr = ast.Constant("x")
    for _ in range(levels):
        match kind:
            case "list":
                node = ast.List([node], ast.Load())
            case "dict":
                node = ast.Dict([ast.Constant("x")], [node])
            case "left":
                node = ast.BinOp(node, ast.Add(), ast.Constant("x"))
            case _:
                node = ast.BinOp(ast.Constant("x"), ast.Add(), node)
    return node


@pytest.mark.parametrize("kind", ["list", "dict", "right"])
def test_what_is_nested_too_deeply_is_no_literal(kind: str) -> None:
    with pytest.raises(NotLiteral):
        literal(deep(kind, 5000))


def test_a_long_sum_of_strings_is_no_deep_one() -> None:
    assert text_of(deep("left")) == "x" * 100_001
    assert text_of(deep("right", 5000)) is None


@pytest.mark.parametrize("text", ["1", "None", "b'x'", "'a' - 'b'", "'a' + 1", "f'{1}'", "x"])
def test_anything_else_is_no_text(text: str) -> None:
    assert text_of(expression(text)) is None


@pytest.mark.parametrize(
    ("text", "doc"),
    [
        ("'''One.\n   Two.'''\nx = 1", "One.\n   Two."),
        ("'a' 'b'", "ab"),
        ("", None),
        ("x = 'a'", None),
        ("b'a'", None),
        ("f'a'", None),
        ("x\n'a'", None),
    ],
)
def test_the_docstring_is_the_first_statement_as_it_stands(text: str, doc: str | None) -> None:
    assert docstring_of(ast.parse(text).body) == doc
    assert ast.get_docstring(ast.parse(text), clean=False) == doc


@given(st.text(st.characters(), max_size=4))
def test_text_can_be_shown_exactly_where_it_can_be_encoded(text: str) -> None:
    assert is_showable(text) == (text.encode("utf-8", "replace").decode() == text)
