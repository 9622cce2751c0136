"""Why a tool must run again: what it depended on beside what is there now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from discover_orch.staleness import fingerprint as freshness
from discover_orch.staleness.fingerprint import (
    ANY_TABLE,
    GONE,
    UNSURE,
    DatabaseIdentity,
    Fingerprint,
    Freshness,
    compare,
)

NAMES = st.sampled_from(["a", "b.py", "data/c.csv"])
HASHES = st.sampled_from(["1", "2", GONE])
TABLES = st.dictionaries(NAMES, HASHES, max_size=3)
LISTS = st.lists(NAMES, max_size=3, unique=True).map(tuple)


@st.composite
def fingerprints(draw: st.DrawFn) -> Fingerprint:
    return Fingerprint(
        code=draw(TABLES),
        python=draw(st.sampled_from(["3.11", "3.12"])),
        distributions=draw(TABLES),
        params=draw(st.dictionaries(NAMES, LISTS, max_size=3)),
        files=draw(TABLES),
        folders=draw(TABLES),
        patterns=draw(TABLES),
        missed=draw(LISTS),
        written=draw(LISTS),
        database=draw(st.none() | st.builds(DatabaseIdentity, name=NAMES, epoch=st.integers(0, 2))),
    )


@given(fingerprints())
def test_where_nothing_changed_there_is_no_reason(one: Fingerprint) -> None:
    assert compare(one, one) == ()


WHOLE = Fingerprint(
    code={"src/a.py": "1"},
    python="3.11",
    distributions={"numpy": "1.26"},
    params={"since": ("2024-01-01",)},
    files={"in.csv": "1"},
    folders={"data": "1"},
    patterns={"data/*.csv": "1"},
    missed=("absent.csv",),
    written=("out.csv",),
    database=DatabaseIdentity(name="sqlite:///data.db", epoch=1),
)


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        ({"code": {"src/a.py": "2"}}, "src/a.py changed"),
        ({"code": {}}, "src/a.py is no longer imported"),
        ({"code": {"src/a.py": "1", "src/b.py": "1"}}, "src/b.py is now imported"),
        # Syntax trees of two versions of Python cannot be compared: code is no further reason.
        ({"python": "3.12", "code": {"src/a.py": "2"}}, "Python: 3.11 → 3.12"),
        ({"distributions": {"numpy": "2.0"}}, "numpy: 1.26 → 2.0"),
        ({"distributions": {}}, "numpy 1.26 is no longer installed"),
        ({"params": {}}, "--since: 2024-01-01 → default"),
        ({"params": {"since": ("a", "b")}}, "--since: 2024-01-01 → a, b"),
        ({"params": {"since": ()}}, '--since: 2024-01-01 → ""'),
        ({"params": {"since": ("",)}}, '--since: 2024-01-01 → ""'),
        (
            {"params": {"since": ("2024-01-01",), "max_size": ("3",)}},
            "--max-size: default → 3",
        ),
        ({"files": {"in.csv": "2"}}, "in.csv changed"),
        ({"files": {"in.csv": GONE}}, "in.csv is missing"),
        ({"files": {}}, "in.csv is missing"),
        ({"folders": {"data": "2"}}, "the list of files in data/ changed"),
        ({"folders": {}}, "the list of files in data/ changed"),
        ({"patterns": {"data/*.csv": "2"}}, "data/*.csv now matches other files"),
        ({"patterns": {}}, "data/*.csv now matches other files"),
        ({"patterns": {**WHOLE.patterns, "more/": "1"}}, "more/ now matches other files"),
        ({"missed": ()}, "absent.csv now exists"),
        ({"written": ()}, "out.csv is missing"),
        (
            {"database": DatabaseIdentity(name="sqlite:///data.db", epoch=0)},
            "the database sqlite:///data.db is missing",
        ),
        (
            {"database": DatabaseIdentity(name="sqlite:///data.db", epoch=2)},
            "the database sqlite:///data.db was replaced",
        ),
        (
            {"database": DatabaseIdentity(name="postgresql://h/d", epoch=1)},
            "database: sqlite:///data.db → postgresql://h/d",
        ),
    ],
)
def test_every_single_difference_has_its_own_sentence(
    now: Mapping[str, object], reason: str
) -> None:
    assert compare(WHOLE, replace(WHOLE, **now)) == (reason,)


def test_a_database_that_was_not_there_yet_was_not_replaced() -> None:
    then = Fingerprint(database=DatabaseIdentity(name="x", epoch=0))
    now = Fingerprint(database=DatabaseIdentity(name="x", epoch=3))
    assert compare(then, now) == ("the database x now exists",)


def test_the_root_that_was_listed_is_told_in_words() -> None:
    then = Fingerprint(folders={".": "1"})
    assert compare(then, Fingerprint()) == ("the list of files in the project folder changed",)


def test_another_scheme_is_the_only_reason() -> None:
    now = replace(WHOLE, scheme=WHOLE.scheme + 1, files={}, params={}, python="4.0")
    (reason,) = compare(WHOLE, now)
    assert "orch was upgraded" in reason


def test_a_file_that_was_missing_and_is_there_is_no_change_of_it() -> None:
    then = Fingerprint(files={"in.csv": GONE})
    assert compare(then, Fingerprint(files={"in.csv": "1"})) == ("in.csv now exists",)
    assert compare(then, Fingerprint()) == ()


@pytest.mark.parametrize("content", ["1", "2", GONE])
def test_what_changed_while_the_tool_ran_is_stale_whatever_it_is_now(content: str) -> None:
    now = Fingerprint(code={"a.py": content}, files={"b.csv": content})
    then = Fingerprint(code={"a.py": UNSURE}, files={"b.csv": UNSURE})
    assert compare(then, now) == (
        "a.py changed while the tool ran",
        "b.csv changed while the tool ran",
    )


def test_what_a_tool_did_not_depend_on_is_no_reason() -> None:
    now = replace(
        WHOLE,
        files={**WHOLE.files, "other.csv": "1"},
        folders={**WHOLE.folders, "other": "1"},
        distributions={**WHOLE.distributions, "pandas": "2.0"},
        missed=(*WHOLE.missed, "x"),
        written=(*WHOLE.written, "y"),
    )
    assert compare(WHOLE, now) == ()


def test_a_tool_that_began_to_take_the_database_is_judged_by_its_code() -> None:
    assert compare(WHOLE, replace(WHOLE, database=None)) == ()
    assert compare(replace(WHOLE, database=None), WHOLE) == ()


@given(fingerprints(), fingerprints())
def test_all_that_a_tool_depended_on_and_that_is_otherwise_is_told(
    then: Fingerprint, now: Fingerprint
) -> None:
    assume(then.python == now.python)
    reasons = compare(then, now)
    for part in (then.code, then.files):
        for path, content in part.items():
            other = now.code if part is then.code else now.files
            if other.get(path, GONE) != content:
                assert any(reason.startswith(f"{path} ") for reason in reasons)
    for name in {*then.params, *now.params}:
        is_told = any(reason.startswith(f"--{name}: ") for reason in reasons)
        assert is_told == (then.params.get(name) != now.params.get(name))
    for path in then.missed:
        assert (f"{path} now exists" in reasons) >= (path not in now.missed)
    for path in then.written:
        assert (f"{path} is missing" in reasons) >= (path not in now.written)
    assert all(reasons)


def test_a_tool_with_a_reason_is_stale_and_one_that_waits_is_too() -> None:
    assert Freshness(module="a").is_fresh
    assert not Freshness(module="a", reasons=("x",)).is_fresh
    waits = Freshness(module="a", upstream=("y",))
    assert not waits.is_fresh
    assert waits.sentences == ("y",)


# Tables.


def later_writers(
    tables: Iterable[str],
    run: int,
    place: int,
    writers: Mapping[str, Iterable[tuple[int, int, str]]],
) -> list[str]:
    """Of tools that were each the first of a run."""
    rows = {
        table: [(where, (other, 0), name) for where, other, name in some]
        for table, some in writers.items()
    }
    return freshness.written_later(tables, (run, 0), place, rows)


ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9), st.sampled_from("xyz")), max_size=5)


@given(
    st.lists(st.sampled_from(["r", "s", "t", ANY_TABLE]), max_size=3),
    st.integers(0, 9),
    st.integers(0, 5),
    st.dictionaries(st.sampled_from(["r", "s", ANY_TABLE]), ROWS, max_size=3),
)
def test_the_rule_of_tables_as_the_contract_says_it(
    tables: list[str], run: int, place: int, rows: dict[str, list[tuple[int, int, str]]]
) -> None:
    writers = {table: sorted(one, key=lambda row: -row[1]) for table, one in rows.items()}
    expected = [
        (table, other, name)
        for table, one in writers.items()
        for where, other, name in one
        if where < place
        and other > run
        and tables
        and (table in (*tables, ANY_TABLE) or ANY_TABLE in tables)
    ]
    found = later_writers(tables, run, place, writers)
    assert len(found) == len(expected)
    for table, other, name in expected:
        what = (
            f"{name} used the database"
            if table == ANY_TABLE
            else f"table {table} was rewritten by {name}"
        )
        assert any(what in reason and f"(run {other})" in reason for reason in found)


def test_within_a_run_the_order_in_which_they_ended_counts() -> None:
    """`raw` was written by the tool at place 0, as the second of run 7."""
    rows = {"raw": [(0, (7, 1), "fetch")]}
    assert freshness.written_later(["raw"], (7, 2), 1, rows) == []
    assert freshness.written_later(["raw"], (7, 0), 1, rows) == [
        "table raw was rewritten by fetch (run 7, after this tool)"
    ]
    assert freshness.written_later([ANY_TABLE], (7, 0), 1, rows) != []
