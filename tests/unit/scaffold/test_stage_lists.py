"""Whatever lists an orchestrator has, each selects the same tools in the same order afterwards."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from discover_orch.model.errors import Location
from discover_orch.scaffold.adoption import build_adoption, check_adoption
from discover_orch.scaffold.orchestrator import OldList, OldTool, Orchestrator
from discover_orch.scaffold.stage_lists import divide, find_after

NAMES = ("delta", "alpha", "echo", "bravo", "charlie")
LISTS = st.dictionaries(
    st.sampled_from(["full", "ingest", "analyze", "alpha", "nightly", "all", "other"]),
    st.lists(st.sampled_from(NAMES), min_size=1, unique=True),
    min_size=1,
)


@given(LISTS, st.permutations("zamb0"))
@settings(max_examples=20)
def test_every_list_means_the_same_afterwards(
    lists: dict[str, list[str]], folders: list[str]
) -> None:
    lasts = ("delta", "alpha", "x", "x", "other")
    modules = [f"f{folder}.{last}" for folder, last in zip(folders, lasts, strict=True)]
    with TemporaryDirectory() as root:
        for module in modules:
            path = Path(root, "src", *module.split(".")).with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("def run(conn): ...\n")
        old = Orchestrator(
            path="old.py",
            text="",
            tools=tuple(
                OldTool(name=name, module=f"src.{module}", place=Location(path="old.py", line=1))
                for name, module in zip(NAMES, modules, strict=True)
            ),
            lists=tuple(
                OldList(name=name, tools=tuple(tools), place=Location(path="old.py", line=2))
                for name, tools in lists.items()
            ),
        )
        adoption = build_adoption(root, old)
        assert adoption.problems == ()
        assert len(adoption.lists) == len(lists)
        assert check_adoption(root, adoption) == ()


@given(st.permutations(NAMES))
def test_after_is_added_only_where_the_order_asks_for_it(members: list[str]) -> None:
    after = find_after(members, {name: name for name in NAMES})
    done: list[str] = []
    while len(done) < len(members):
        ready = [one for one in NAMES if one not in done and after.get(one, one) in (*done, one)]
        done.append(min(ready))
    assert done == list(members)
    assert find_after(sorted(members), {name: name for name in NAMES}) == {}


def test_a_list_made_of_others_is_a_group_of_them() -> None:
    found = divide(
        {"full": ("a", "b", "c"), "ingest": ("a", "b"), "late": ("c",), "all": ("c", "a", "b")},
        {"a": "a", "b": "b", "c": "src.c"},
    )
    assert found.stages == {"ingest": ("a", "b"), "late": ("c",)}
    assert found.groups == {"all": ("src.c", "ingest")}
