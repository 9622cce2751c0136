"""The facts in the index: every value comes back the same, and damage makes none of them."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.discovery.facts_index import (
    FileRecord,
    KnownFacts,
    ReferenceRecord,
    encode_facts,
    read_known_facts,
)
from discover_orch.model.errors import Location, Problem
from discover_orch.model.parameter import Choice, EnumChoice, ParamType, Scalar, ScalarKind
from discover_orch.source.facts import (
    ArgumentFacts,
    BrokenModule,
    ConfFacts,
    EnumRef,
    Exports,
    ModuleFacts,
    NameRef,
    OrchTag,
    ResourceFacts,
    RunFacts,
    Tag,
    UnknownType,
    has_secret,
)
from discover_orch.state.store import Index

texts = st.text(max_size=8)
lines = st.integers(1, 10**6)
refs = st.builds(NameRef, name=texts)
words = st.lists(texts | refs, max_size=3).map(tuple)
names = st.lists(texts, max_size=3).map(tuple)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
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
modules = st.builds(
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
)
broken_modules = st.builds(BrokenModule, path=texts, module=texts, problem=problems, stages=names)
exports = st.builds(
    Exports,
    module=texts,
    constants=st.dictionaries(texts, st.none() | texts | words, max_size=3),
    enums=st.dictionaries(
        texts,
        st.lists(
            st.tuples(texts, st.none() | texts | st.integers() | st.booleans()), max_size=3
        ).map(tuple),
        max_size=3,
    ),
    aliases=st.dictionaries(texts, refs, max_size=3),
    functions=st.dictionaries(texts, runs, max_size=2),
    types=st.dictionaries(texts, types | enum_refs, max_size=2),
    stars=names,
)
confs = st.builds(
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
)
records = st.builds(
    FileRecord, path=texts, signature=texts, facts=st.none() | modules | broken_modules
)
references = st.builds(
    ReferenceRecord, key=texts, signature=texts, facts=st.none() | exports | confs | broken_modules
)


class IndexOf(Index):
    """An index whose part `facts` is this text."""

    def __init__(self, facts: str) -> None:
        super().__init__("", {"pythonpath": ["."]}, {}, 0)
        self._facts = facts

    def part(self, name: str) -> str | None:
        return self._facts if name == "facts" else None


def again(*written: FileRecord | ReferenceRecord) -> KnownFacts:
    text = encode_facts(
        [one for one in written if isinstance(one, FileRecord)],
        [one for one in written if isinstance(one, ReferenceRecord)],
        {"a.py": ("s",)},
    )
    return read_known_facts(IndexOf(text), ["."])


@given(records, references)
def test_a_value_comes_back_the_same(file: FileRecord, reference: ReferenceRecord) -> None:
    known = again(file, reference)
    assert known.stages == {"a.py": ("s",)}
    if not has_secret(file.facts):  # by their texts, as 1 and True are equal
        assert repr(known.files) == repr({file.path: file})
    if not has_secret(reference.facts):
        assert repr(known.references) == repr({reference.key: reference})


MODULE = FileRecord(
    path="a.py",
    signature="1",
    facts=ModuleFacts(module="a", path="a.py", stage=Tag(line=1, words=("s",))),
)


@given(st.data())
def test_a_damaged_text_is_as_good_as_none(data: st.DataObject) -> None:
    text = encode_facts([MODULE], [], {})
    start = data.draw(st.integers(0, len(text)))
    damaged = text[:start] + data.draw(texts) + text[start + data.draw(st.integers(1, 9)) :]
    known = read_known_facts(IndexOf(damaged), ["."])
    for one in known.files.values():
        assert type(one.facts) in (ModuleFacts, BrokenModule, type(None))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "{", '{"files": []}', "[" * 9999, '{"files": [["a", "1", ["x"]]]}']
)
def test_a_text_of_another_shape_is_as_good_as_none(text: str) -> None:
    assert read_known_facts(IndexOf(text), ["."]) == KnownFacts()


def test_a_file_whose_name_is_no_text_is_left_out_alone() -> None:
    odd = FileRecord(path="\udcff.py", signature="1", facts=None)
    assert again(MODULE, odd).files == {"a.py": MODULE}
