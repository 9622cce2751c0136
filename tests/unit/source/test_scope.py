"""Which names a module binds at its top level, and what its constants mean: as Python says, or nothing. What is shown of
both is in `tests/scenes/source_*.scene`."""

from __future__ import annotations

import ast
import importlib.util
import symtable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.source.facts import ModuleFacts, absolute
from discover_orch.source.read_module import read_module
from discover_orch.source.scope import Binding, Unreadable, read_bindings


def read(text: str, package: str = "src.pkg") -> dict[str, list[Binding]]:
    return read_bindings(ast.parse(text), package)


dotted = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join)


@given(st.none() | dotted, st.integers(0, 5), dotted)
def test_relative_imports_count_as_python_counts_them(
    module: str | None, level: int, package: str
) -> None:
    if not level and module is None:
        return
    try:
        expected = importlib.util.resolve_name("." * level + (module or ""), package)
    except ImportError:
        expected = ""
    assert absolute("." * level + (module or ""), package) == expected.rstrip(".")


# No comprehensions: `symtable` counts a walrus there as global, and of late their variables as assigned.
STATEMENTS = [
    *("a = 1", "a: int = 1", "a, *b = c", "a += 1", "import a.b", "import a.b as c", "del a"),
    *("from a import b as c", "def a(b): c = 1", "class a:\n    b = 1", "(a := b)"),
    *("for a in b:\n    c = 1", "if a:\n    import b", "with a as b:\n    del c"),
    *("lambda a=(b := 1): (c := 2)", "while a:\n    for b in c:\n        a = 1"),
    *("try:\n    a = 1\nexcept E as b: 0\nelse:\n    c = 1", "match a:\n    case [b, {**c}]: 0"),
]


@given(st.lists(st.sampled_from(STATEMENTS), max_size=5))
def test_the_names_are_those_that_python_sees_bound(statements: list[str]) -> None:
    text = "\n".join(statements)
    table = symtable.symtable(text, "<module>", "exec")
    expected = {
        one.get_name() for one in table.get_symbols() if one.is_assigned() or one.is_imported()
    }
    assert {*read(text)} == expected


def test_a_type_statement_binds_its_name_where_python_knows_it() -> None:
    if hasattr(ast, "TypeAlias"):
        assert [*read("type x = int")] == ["x"]
    else:
        with pytest.raises(SyntaxError):
            read("type x = int")


def value(expr: str, above: str = "") -> object:
    """What `expr` means as the last statement of a module; raises Unreadable."""
    text = f"{above}\nSTAGE = {expr}\ndef run(): 0\n"
    facts = read_module(text.encode(), module="src.tools", path="src/tools.py")
    assert isinstance(facts, ModuleFacts)
    assert facts.stage is not None
    if facts.stage.problem:
        raise Unreadable(facts.stage.problem.removeprefix("STAGE cannot be read: "))
    words = facts.stage.words
    return None if facts.stage.is_off else words[0] if len(words) == 1 else words


# A chain of names means what Python says, or nothing.

names = st.sampled_from("abcd")
statements = st.one_of(
    st.tuples(names, names).map(lambda pair: f"{pair[0]} = {pair[1]}"),
    st.tuples(names, st.sampled_from(["'x'", "'y'", "('x', 'y')", "None"])).map(" = ".join),
    st.tuples(names, names).map(lambda pair: f"{pair[0]} = ({pair[1]}, 'z')"),
    names.map(lambda name: f"del {name}"),
)


@given(st.lists(statements, max_size=6), names)
def test_what_is_read_is_what_running_the_module_gives(lines: list[str], name: str) -> None:
    space: dict[str, object] = {}
    run = []
    for line in lines:
        try:
            exec(line, {}, space)
        except NameError:
            continue
        run.append(line)
    try:
        found = value(name, "\n".join(run))
    except Unreadable:
        return
    assert found == space[name]
