"""`facts_rows` by itself: every value comes back the same, and no damage makes another one."""

from __future__ import annotations

import copy
import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.model.errors import Location, Problem
from discover_orch.model.tool import Choice, EnumChoice, ParamType, Scalar, ScalarKind
from discover_orch.source.facts import (
    ArgumentFacts,
    BrokenModule,
    ConfFacts,
    EnumRef,
    Exports,
    ImportFact,
    ModuleFacts,
    NameRef,
    OrchTag,
    ResourceFacts,
    RunFacts,
    Tag,
    UnknownType,
)
from discover_orch.source.facts_rows import AnyFacts, from_row, to_row
from discover_orch.source.read_module import read_module

texts = st.text(max_size=8)
lines = st.integers(1, 10**6)
refs = st.builds(NameRef, name=texts)
words = st.lists(texts | refs, max_size=3).map(tuple)
names = st.lists(texts, max_size=3).map(tuple)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)
bases = (
    st.builds(Scalar, kind=st.sampled_from(get_args(ScalarKind)))
    | st.builds(
        Choice,
        values=st.lists(texts | st.integers() | st.booleans(), min_size=1, max_size=3).map(tuple),
    )
    | st.builds(
        EnumChoice,
        module=texts,
        name=texts,
        members=st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
    )
)
types = st.builds(ParamType, base=bases, many=st.booleans(), optional=st.booleans())
enum_refs = st.builds(EnumRef, ref=refs, many=st.booleans(), optional=st.booleans())
kinds = types | enum_refs | st.builds(UnknownType, text=texts)
arguments = st.builds(
    ArgumentFacts,
    name=texts,
    line=lines,
    type=kinds,
    is_positional_only=st.booleans(),
    default=values,
    default_source=texts,
    help=texts,
) | st.builds(ArgumentFacts, name=texts, line=lines, type=kinds)
runs = st.builds(
    RunFacts,
    line=lines,
    is_async=st.booleans(),
    ref=st.none() | refs,
    arguments=st.lists(arguments, max_size=3).map(tuple),
    takes_extra=st.booleans(),
    is_readable=st.booleans(),
)
tags = st.builds(Tag, line=lines, words=words, is_off=st.booleans(), problem=texts)
orch_tags = st.dictionaries(texts, st.tuples(values, lines), max_size=3).flatmap(
    lambda items: st.builds(
        OrchTag,
        line=lines,
        values=st.just({name: pair[0] for name, pair in items.items()}),
        lines=st.just({name: pair[1] for name, pair in items.items()}),
        problem=texts,
    )
)
problems = st.builds(
    Problem,
    code=texts,
    message=texts,
    hint=texts,
    location=st.none() | st.builds(Location, path=texts, line=st.none() | lines),
    severity=st.sampled_from(["error", "warning"]),
)
facts: st.SearchStrategy[AnyFacts] = st.one_of(
    st.builds(
        ModuleFacts,
        module=texts,
        path=texts,
        doc=texts,
        stage=st.none() | tags,
        after=st.none() | tags,
        orch=st.none() | orch_tags,
        run=st.none() | runs,
        miss=texts,
        miss_line=lines,
    ),
    st.builds(BrokenModule, path=texts, module=texts, problem=problems, stages=names),
    st.builds(
        Exports,
        module=texts,
        constants=st.dictionaries(texts, st.none() | texts | words, max_size=3),
        enums=st.dictionaries(
            texts,
            st.lists(st.tuples(texts, st.none() | texts | st.integers()), max_size=3).map(tuple),
            max_size=3,
        ),
        aliases=st.dictionaries(texts, refs, max_size=3),
        functions=st.dictionaries(texts, runs, max_size=2),
        types=st.dictionaries(texts, types | enum_refs, max_size=2),
        stars=names,
    ),
    st.builds(
        ImportFact,
        kind=st.sampled_from(["import", "from", "dynamic"]),
        module=texts,
        names=names,
        line=lines,
    ),
    st.builds(
        ConfFacts,
        path=texts,
        connection_line=st.none() | lines,
        resources=st.lists(
            st.builds(
                ResourceFacts,
                name=texts,
                line=lines,
                needs=st.lists(st.tuples(texts, st.booleans()), max_size=2).map(tuple),
            ),
            max_size=2,
        ).map(tuple),
    ),
)


@given(facts)
def test_a_value_comes_back_the_same(one: AnyFacts) -> None:
    row = json.loads(json.dumps(to_row(one)))
    again = from_row(row)
    assert again == one
    assert repr(again) == repr(one)  # 1 and True are equal
    assert to_row(again) == row


def places(row: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    inner = enumerate(row) if isinstance(row, list) else ()
    for key, item in inner:
        found += places(item, (*path, key))
    return found


@given(facts, st.data())
def test_a_damaged_row_raises_or_is_a_value_that_can_be_written(
    one: AnyFacts, data: st.DataObject
) -> None:
    row = copy.deepcopy(to_row(one))
    path = data.draw(st.sampled_from(places(row)))
    holder = row
    for key in path[:-1]:
        holder = holder[key]
    if data.draw(st.booleans()):
        del holder[path[-1]]
    else:
        holder[path[-1]] = data.draw(values)
    try:
        again = from_row(row)
    except (ValueError, TypeError, KeyError, IndexError):
        return
    assert from_row(json.loads(json.dumps(to_row(again)))) == again


@pytest.mark.parametrize(
    "row", [[], ["x"], ["module"], "module", None, {}, 3, [["module"]], [None]]
)
def test_what_is_no_row_raises(row: Any) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, IndexError)):
        from_row(row)


def test_facts_of_a_real_text_come_back() -> None:
    text = b"from a import E\nSTAGE = E.X, 'b'\nORCH = {'tokens': {'gpu': 1}}\ndef run(a: E): ...\n"
    found = read_module(text, module="m", path="m.py")
    assert from_row(json.loads(json.dumps(to_row(found)))) == found
