"""Which tools a word names: suffixes of the module path, the name from `ORCH`, and words of `AFTER`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from discover_orch.model.tool import build_names

parts = st.sampled_from(["a", "b", "c"])

modules = st.lists(st.lists(parts, min_size=1, max_size=4).map(".".join), unique=True, max_size=8)

own_names = st.one_of(st.none(), parts, st.sampled_from(["x", "a.b", "y-z"]))


@given(modules, st.data())
def test_the_name_that_is_shown_always_leads_back(found: list[str], data: st.DataObject) -> None:
    tools = [(module, data.draw(own_names)) for module in found]
    names = build_names(tools)
    assert [names.find(names.display[module]) for module in found] == [(one,) for one in found]
    assert len(set(names.display.values())) == len(found)


@given(modules)
def test_no_shorter_suffix_would_do(found: list[str]) -> None:
    names = build_names([(module, None) for module in found])
    for module in found:
        shown = names.display[module]
        shorter = shown.partition(".")[2]
        while shorter:
            assert names.find(shorter) != (module,)
            shorter = shorter.partition(".")[2]
