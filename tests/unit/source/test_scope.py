"""What an expression at the top level means, by the bindings before it: a constant, or why none."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.source.facts import ModuleFacts
from discover_orch.source.read_module import read_module
from discover_orch.source.scope import ModuleScope, Unreadable


def scope_of(text: str, module: str = "src.tools", *, is_package: bool = False) -> ModuleScope:
    return ModuleScope(ast.parse(text), module, is_package)


def expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


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


def refusal(expr: str, above: str = "") -> str:
    with pytest.raises(Unreadable) as caught:
        value(expr, above)
    return str(caught.value)


ENUM = "from enum import Enum, StrEnum, IntEnum, auto\nclass Stage(Enum):\n    A = 'a'\n    B = 2\n"


@pytest.mark.parametrize(
    ("expr", "above", "meaning"),
    [
        ("'a' + 'b'", "", "ab"),
        ("None", "", None),
        ("('a', x)", "x = 'b'", ("a", "b")),
        ("x", "x = y = 'a'\nz = 1", "a"),
        ("x", "y = 'a'\nx = y", "a"),
        ("y", "x = 'a'\ny = x\nx = 'b'", "a"),
        ("x.Y", "class C:\n    Y = 'y'\nx = C", "y"),
        ("C.Y", "class C:\n    Y = 'x'\n    Y = ('y', 'z')", ("y", "z")),
        ("Stage.A", ENUM, "a"),
        ("Stage.A.value", ENUM, "a"),
        ("Stage.B.name", ENUM, "B"),
    ],
)
def test_an_expression_means_what_its_names_were_bound_to(
    expr: str, above: str, meaning: object
) -> None:
    assert value(expr, above) == meaning


@pytest.mark.parametrize(
    ("expr", "above", "reason"),
    [
        ("1", "", "it is a number"),
        ("f()", "", "it is computed"),
        ("f().x", "", "it is computed"),
        ("'\\ud800'", "", "it contains characters that cannot be shown"),
        ("('a', 1)", "", "it contains something other than strings"),
        ("('a', None)", "", "it contains something other than strings"),
        ("('a', ('b',))", "", "it contains something other than strings"),
        ("x", "", "`x` is not defined above"),
        ("x", "x = 'a'\ndel x", "`x` is not defined above"),
        ("x", "from a import *\nx = 1\ndel x", "`x` is not defined above"),
        ("x", "if y:\n    x = 'a'", "`x` is set inside `if`"),
        ("x", "x, y = 'a', 'b'", "`x` is set by unpacking"),
        ("['a', s.X]", "import s", "`s.X` is not a constant of the project"),
        ("x", "from a.b import c as x", "`a.b.c` is not a constant of the project"),
        ("x", "from . import c as x", "`src.c` is not a constant of the project"),
        ("x.y.z", "import x.y", "`x.y.z` is not a constant of the project"),
        ("x.Y", "import a.b as x", "`a.b.Y` is not a constant of the project"),
        ("x", "def x(): 0", "`src.tools.x` is not a constant of the project"),
        ("x", "x = f()", "`src.tools.x` is not a constant of the project"),
        ("x.y", "x = 1", "`src.tools.x.y` is not a constant of the project"),
        ("C.y", "class C:\n    x = 'a'", "`src.tools.C.y` is not a constant of the project"),
        ("C.x.y", "class C:\n    x = 'a'", "`src.tools.C.x.y` is not a constant of the project"),
        ("Stage.C", ENUM, "`src.tools.Stage.C` is not a constant of the project"),
        ("Stage.B", ENUM, "`src.tools.Stage.B` is not a constant of the project"),
        ("Stage.A.upper", ENUM, "`src.tools.Stage.A.upper` is not a constant of the project"),
    ],
)
def test_what_cannot_be_told_says_why(expr: str, above: str, reason: str) -> None:
    assert refusal(expr, above) == reason


def test_a_name_that_is_its_own_meaning_ends() -> None:
    for expr, above in (("x", "x = x"), ("x.a.b", "x = y.a\ny = x.a"), ("x", "x = y\ny = x")):
        assert refusal(expr, above).endswith("is not a constant of the project")


def test_the_last_binding_holds_and_a_deleted_name_has_none() -> None:
    scope = scope_of("x = 1\nx = 2\ndel x\nx = 3")
    lines = {before: scope.last("x", before) for before in range(5)}
    found = {before: binding and binding.line for before, binding in lines.items()}
    assert found == {0: None, 1: 1, 2: 2, 3: None, 4: 4}
    assert scope.last("y") is None


def test_relative_names_count_from_the_package() -> None:
    text = "from . import x"
    assert scope_of(text, "src.tools").package == "src"
    assert scope_of(text, "src.tools", is_package=True).package == "src.tools"


# Enums.


def members(text: str) -> dict[str, object]:
    scope = scope_of(
        "import enum\nfrom enum import *\nfrom enum import Enum, StrEnum, auto\n" + text
    )
    binding = scope.last("E")
    assert binding is not None
    assert isinstance(binding.node, ast.ClassDef)
    found = scope.enum_members(binding.node)
    assert found is not None
    return {**found}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("class E(Enum):\n    A = 'a'\n    B: str = 'b'\n    _x = 1", {"A": "a", "B": "b"}),
        ("class E(enum.IntEnum):\n    A = 1\n    B = A", {"A": 1, "B": 1}),
        ("class E(str, Enum):\n    A = 1", {"A": "1"}),
        ("class E(StrEnum):\n    AbC = auto()", {"AbC": "abc"}),
        ("class E(Enum):\n    A = auto()\n    B = f()\n    C = 1.5", dict.fromkeys("ABC")),
        ("class E(Enum):\n    A = 'a'\n    x = enum.nonmember(1)\n    def f(self): 0", {"A": "a"}),
        ("class B(Enum):\n    def f(self): 0\nclass E(B):\n    A = 'a'", {"A": "a"}),
        ("class E(Enum):\n    A = 'a'\n    def __init__(self, x): 0", {"A": None}),
        ("class E(Enum):\n    A = ('a', 1)\n    B = -1", {"A": None, "B": -1}),
        ("class E(Enum):\n    def __new__(cls): ...\n    A = 'a'", {"A": None}),
        ("X = 'a'\nclass E(Enum):\n    A = X\n    B = Y", {"A": "a", "B": None}),
    ],
)
def test_members_and_their_values(text: str, expected: dict[str, object]) -> None:
    assert members(text) == expected


def test_a_class_that_is_no_enum_has_no_members() -> None:
    scope = scope_of("class E(E): 0\nclass F(G): 0\nclass G(F): 0\nclass H: 0\nclass I(I.J): 0")
    for name in "EFGHI":
        binding = scope.last(name)
        assert binding is not None
        assert isinstance(binding.node, ast.ClassDef)
        assert scope.enum_members(binding.node) is None


# Names in annotations.


@pytest.mark.parametrize(
    ("expr", "above", "name"),
    [
        ("str", "", "builtins.str"),
        ("str", "class str: 0", ""),
        ("str", "from a import *", "builtins.str"),
        ("dt.date", "import datetime as dt", "datetime.date"),
        ("date", "from datetime import date", "datetime.date"),
        ("date", "if TYPE_CHECKING:\n    from datetime import date", "datetime.date"),
        ("X", "", ""),
        ("X", "X = 1", ""),
        ("f().x", "", ""),
    ],
)
def test_a_type_is_known_by_its_full_name(expr: str, above: str, name: str) -> None:
    assert scope_of(above).outside(expression(expr)) == name


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
