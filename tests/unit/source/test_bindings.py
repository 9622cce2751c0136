"""Which names a module binds at its top level, in what order, and what stands in their way."""

from __future__ import annotations

import ast
import importlib.util
import symtable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.source.facts import absolute
from discover_orch.source.scope import Binding, read_bindings


def read(text: str, package: str = "src.pkg") -> dict[str, list[Binding]]:
    return read_bindings(ast.parse(text), package)


def told(binding: Binding) -> str:
    """`3: 'x'` for what is bound plainly on line 3, else the way; `?` is bound to nothing readable."""
    node = binding.node
    if isinstance(node, str):
        what = node
    elif isinstance(node, ast.expr):
        what = ast.unparse(node)
    else:
        what = type(node).__name__ if node is not None else "?"
    if binding.is_deleted:
        what = "deleted"
    return f"{binding.line}: {what}" + (f" {binding.where}" if binding.where else "")


def bound(text: str, name: str = "x") -> list[str]:
    return [told(binding) for binding in read(text).get(name, ())]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1", ["1: 1"]),
        ("x: int = 1", ["1: 1"]),
        ("x: int", []),
        ("y = x = 1", ["1: 1"]),
        ("def x(): 0", ["1: FunctionDef"]),
        ("async def x(): 0", ["1: AsyncFunctionDef"]),
        ("class x: 0", ["1: ClassDef"]),
        ("import x", ["1: x"]),
        ("import x.y", ["1: x"]),
        ("import a.b as x", ["1: a.b"]),
        ("from a import x", ["1: a.x"]),
        ("from a import b as x", ["1: a.b"]),
        ("from . import x", ["1: src.pkg.x"]),
        ("from ..a import x", ["1: src.a.x"]),
        ("x = 1\n\nx = 2", ["1: 1", "3: 2"]),
        ("x = 1\ndel x", ["1: 1", "2: deleted"]),
        ("del (a, [x])", ["1: deleted"]),
    ],
)
def test_a_plain_binding_says_what_the_name_is_bound_to(text: str, expected: list[str]) -> None:
    assert bound(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x, y = 1, 2", ["1: ? by unpacking"]),
        ("[a, (b, *x)] = c", ["1: ? by unpacking"]),
        ("x += 1", ["1: ? by augmented assignment"]),
        ("print(x := 1)", ["1: ? inside an expression"]),
        ("[x := y for y in z]", ["1: ? inside an expression"]),
        ("def f(a=(x := 1)): 0", ["1: ? inside an expression"]),
        ("@f(x := 1)\nclass C: 0", ["1: ? inside an expression"]),
        ("class C(m=(x := 1)): 0", ["1: ? inside an expression"]),
        ("f(lambda a=(x := 1): 0)", ["1: ? inside an expression"]),
        ("if a:\n    x = 1\nelse:\n    x = 2", ["2: ? inside `if`", "4: ? inside `if`"]),
        ("if a:\n    import x", ["2: x inside `if`"]),
        ("if a:\n    def x(): 0", ["2: FunctionDef inside `if`"]),
        ("if a:\n    del x", ["2: ? inside `if`"]),
        ("for x in y: 0", ["1: ? inside `for`"]),
        ("for a, *x in y: 0", ["1: ? inside `for`"]),
        ("while a:\n    if b:\n        x = 1", ["3: ? inside `while`"]),
        ("with a as x: 0", ["1: ? inside `with`"]),
        ("with a as (b, x): 0", ["1: ? inside `with`"]),
        ("try: 0\nexcept E as x: 0", ["2: ? inside `try`"]),
        ("try: 0\nexcept* E as x: 0", ["2: ? inside `try`"]),
        ("try:\n    x = 1\nfinally:\n    x = 2", ["2: ? inside `try`", "4: ? inside `try`"]),
        ("match a:\n    case x: 0", ["2: ? inside `match`"]),
        ("match a:\n    case [*x]: 0", ["2: ? inside `match`"]),
        ("match a:\n    case {'k': 1, **x}: 0", ["2: ? inside `match`"]),
        ("match a:\n    case C(b=[1, x]): 0", ["2: ? inside `match`"]),
        ("match a:\n    case _ if b:\n        x = 1", ["3: ? inside `match`"]),
    ],
)
def test_what_stands_in_the_way_is_said(text: str, expected: list[str]) -> None:
    assert bound(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    x = 1\n    global y",
        "def f(x): 0",
        "class C:\n    x = 1\n    def x(self): 0",
        "lambda x: 0",
        "[x for x in y]",
        "lambda: (x := 1)",
        "def f():\n    (x := 1)",
        "a.x = 1",
        "a['x'] = 1",
        "del a.x, a['x']",
        "f(x=1)",
        "'x = 1'  # x = 1",
        "from a import x as y",
        "import y.x",
        "import x as y",
    ],
)
def test_what_is_no_name_of_the_module_is_not_bound(text: str) -> None:
    assert bound(text) == []


def test_each_binding_knows_its_statement() -> None:
    found = read("a = 1\nif a:\n    a = 2\n    b = a\na = 3")
    assert [binding.index for binding in found["a"]] == [0, 1, 2]
    assert [binding.index for binding in found["b"]] == [1]


def test_a_type_statement_binds_its_name_where_python_knows_it() -> None:
    if hasattr(ast, "TypeAlias"):
        assert bound("type x = int") == ["1: int"]
    else:
        with pytest.raises(SyntaxError):
            bound("type x = int")


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


def test_relative_imports_outside_a_package_lead_nowhere() -> None:
    assert absolute(".a", "") == ""
    assert absolute("a", "") == "a"


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
