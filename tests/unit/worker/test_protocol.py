"""What one side writes the other reads, whatever text is in it; one line each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from discover_orch.worker.protocol import (
    Message,
    Order,
    decode_message,
    decode_order,
    encode_line,
)

anything = st.text(st.characters(exclude_categories=()))  # lone surrogates too: names of files
PLAIN = {
    str: anything,
    int: st.integers(),
    float: st.floats(0, 1e6),
    bool: st.booleans(),
    type(None): st.none(),
    datetime: st.datetimes(),
    object: st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | anything,
}


def values(hint: Any, inside: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    """Any values of a type, as it is annotated; none of a type inside of itself."""
    if hint in PLAIN:
        return PLAIN[hint]
    if isinstance(hint, type) and issubclass(hint, Struct):
        fields = get_type_hints(hint).items()
        return st.builds(hint, **{name: values(one, (*inside, hint)) for name, one in fields})
    kind, inner = get_origin(hint), get_args(hint)
    if kind is Literal:
        return st.sampled_from(inner)
    if kind is UnionType:
        return st.one_of([values(one, inside) for one in inner])
    if kind is tuple and inner[-1] is not Ellipsis:
        return st.tuples(*(values(one, inside) for one in inner))
    if kind is tuple and inner[0] in inside:
        return st.just(())
    if kind is tuple:
        return st.lists(values(inner[0], inside), max_size=3).map(tuple)
    assert kind is Mapping, hint
    return st.dictionaries(*(values(one, inside) for one in inner), max_size=3)


@given(values(Order))
def test_an_order_survives_as_one_line(order: Any) -> None:
    line = encode_line(order)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_order(line) == order


@given(values(Message))
def test_a_message_survives_as_one_line(message: Any) -> None:
    line = encode_line(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_message(line) == message
