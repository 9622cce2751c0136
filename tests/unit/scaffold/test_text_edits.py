"""Changes of TOML as text mean what they should, and keep the rest as it is."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.scaffold.file_changes import (
    CannotEdit,
    Table,
    append_table,
    append_to_list,
    toml_table,
)

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = texts | st.lists(texts, max_size=3)
tables = st.dictionaries(
    texts, values | st.dictionaries(texts, values, min_size=1, max_size=2), max_size=4
)


@given(tables)
def test_a_table_is_read_as_it_was_written(table: Table) -> None:
    assert tomllib.loads(toml_table("tool.orch", table)) == {"tool": {"orch": table}}


@pytest.mark.parametrize("text", ["tool = {}\n", "[tool.orch]\nstages = []\n", "[[tool]]\nx = 1\n"])
def test_a_table_that_cannot_be_added_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        append_table(text, "tool.orch", {"stages": ["a"]})


@pytest.mark.parametrize(
    "text", ['"stages" = ["a"]', 'stages = ["a]"]', 'stages = ["a" # "\n]', "x = 1"]
)
def test_a_list_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(CannotEdit):
        append_to_list(text, (), "stages", "c")
