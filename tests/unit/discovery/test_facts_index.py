"""The facts in the index: damage makes none of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.discovery.facts_index import (
    FileRecord,
    KnownFacts,
    encode_facts,
    read_known_facts,
)
from discover_orch.source.facts import (
    BrokenModule,
    ModuleFacts,
    Tag,
)
from discover_orch.state.store import Index

texts = st.text(max_size=8)


class IndexOf(Index):
    """An index whose part `facts` is this text."""

    def __init__(self, facts: str) -> None:
        super().__init__({"pythonpath": ["."]}, {}, b"")
        self._facts = facts

    def part(self, name: str) -> str | None:
        return self._facts if name == "facts" else None


MODULE = FileRecord(
    signature="1", facts=ModuleFacts(module="a", path="a.py", stage=Tag(line=1, words=("s",)))
)


@given(st.data())
def test_a_damaged_text_is_as_good_as_none(data: st.DataObject) -> None:
    text = encode_facts(KnownFacts(files={"a.py": MODULE}))
    start = data.draw(st.integers(0, len(text)))
    damaged = text[:start] + data.draw(texts) + text[start + data.draw(st.integers(1, 9)) :]
    known = read_known_facts(IndexOf(damaged), ["."])
    for one in known.files.values():
        assert type(one.facts) in (ModuleFacts, BrokenModule, type(None))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "{", '{"files": []}', "[" * 9999, '{"files": {"a": ["1", ["x"]]}}']
)
def test_a_text_of_another_shape_is_as_good_as_none(text: str) -> None:
    assert read_known_facts(IndexOf(text), ["."]) == KnownFacts()


def test_a_file_whose_name_is_no_text_is_left_out_alone() -> None:
    files = {"a.py": MODULE, "\udcff.py": FileRecord(signature="1", facts=None)}
    text = encode_facts(KnownFacts(files=files))
    assert read_known_facts(IndexOf(text), ["."]).files == {"a.py": MODULE}
