"""A cheap look that may suspect a sound module, and never clears one that Python refuses."""

from __future__ import annotations

import ast
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.source.refusal import MAX_BLOCKS, MAX_LINE, may_be_refused


def is_suspected(text: str) -> bool:
    data = text.encode()
    return may_be_refused(data, ast.parse(data))


def is_refused(text: str) -> bool:
    """Whether it parses and does not compile."""
    ast.parse(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(text, "<module>", "exec", dont_inherit=True)
        except (SyntaxError, RecursionError, MemoryError):
            return True
    return False


REFUSED = [
    "return",
    "if x:\n    return 1",
    "class C:\n    return 1",
    "yield 1",
    "await x",
    "async with a: 0",
    "def f(): [x async for x in y]; [[await z] for _ in x]; yield from g()\nasync def g(): yield from f()",
    "break",
    "continue",
    "def f():\n    break",
    "for x in y:\n    def f():\n        continue",
    "while x: 0\nelse: break",
    "def f(a, a): 0",
    "def f(a, *, a): 0",
    "def f(a, /, *a): 0",
    "def f(a, **a): 0",
    "class C:\n    def f(self, __a, _C__a): 0",
    "lambda a, a: 0",
    "f(a=1, a=2)",
    "f(\n  a=1,\n  b=f(x),\n  a=2)",
    "f(a  # why\n  =1, a=2)",
    "f(a\n=1, a\n=2)",
    "f(\\\na=1, a=2)",
    "f(é=1, e\u0301=2)",
    "def f():\n    x = 1\n    global x",
    "def f(x):\n    nonlocal x",
    "nonlocal x",
    "def f(x):\n    global x",
    "x = *a",
    "*a",
    "*a = b",
    "x = " + " " * 100 + "*a",
    "for *x in y: 0",
    "x = *a,\ny = *b",
    "a, *b, *c = d",
    "[*a, (*b, *c)] = d",
    "with a as (*b, *c): 0",
    "def f():\n    return *a",
    "[x for *x in y]",
    "x[*a] = *b",
    "[x := 1 for x in y]",
    "class C:\n    [x := 1 for y in z]",
    "__debug__ = 1",
    "def f(__debug__): 0",
    "x.__debug__ = 1",
    "import a as __debug__",
    "try: 0\nexcept: 0\nexcept E: 0",
    "def f():\n    from a import *",
    "class C:\n    from a import *",
    "x = 1\nfrom __future__ import annotations",
    "from __future__ import braces",
    "from __future__ import nosuch",
    "def f():\n    from __future__ import annotations",
    "match x:\n    case a: 0\n    case b: 0",
    "match x:\n    case a | b: 0",
    "match x:\n    case [a, a]: 0",
    "match x:\n    case {1: a, 1: b}: 0",
    "match x:\n    case C(a=1, a=2): 0",
    "async def f():\n    return 1\n    yield",
]
BEYOND_3_11 = ["def f[T, T](): 0", "type X[T, T] = int", "class C[T: (yield)]: 0"]


@pytest.mark.parametrize("text", REFUSED)
def test_what_parses_and_does_not_compile_is_suspected(text: str) -> None:
    assert is_refused(text)
    assert is_suspected(text)


@pytest.mark.parametrize("text", BEYOND_3_11)
def test_type_parameters_are_suspected_where_there_are_any(text: str) -> None:
    try:
        assert is_suspected(text)
    except SyntaxError:  # an older Python does not even parse it
        assert not hasattr(ast, "TypeAlias")


@pytest.mark.parametrize(
    "text",
    [
        "STAGE = 'ingest'\nAFTER = ('a', 'b')\nORCH = {'retries': 1}",
        '"""Doc."""\nfrom __future__ import annotations\nimport a.b as c\nfrom d import e',
        "from a import *",
        "def run(conn, *, since: str = 'x', **extra) -> None:\n    return f(a=1, b=2)",
        "def f(*args, **kwargs):\n    for x, *y in args:\n        if x:\n            continue\n    f(*y)",
        "a, *b = c\nprint(*b, sep='')\nx = [*b, 2 * 3, 2 ** 3]\ny = {**c}",
        "try:\n    f(a=1)\nexcept E as e:\n    g(a=1)\nexcept:\n    0\nfinally:\n    0",
        "with a as b, c as (d, e):\n    while True:\n        break\n    else:\n        pass",
        "class C(B, metaclass=M):\n    x: int = 1\n    def f(self): return self",
        "key = lambda x: x\nnone = lambda: None\nsort(key=lambda row: row[0])",
        "f(a=1)\nf(a=2)\nassert x, y\ndel x, y\nraise E from None\nx += 1",
        "x = 'é'\nname = 'yields, awaiting, globally'",
        "x = f(y for y in z if y)\nx = {y: z for y, z in w}",
        "# -*- coding: utf-8 -*-\nx = 1\r\ny = 2\r\n",
    ],
)
def test_ordinary_modules_are_cleared_without_compiling(text: str) -> None:
    assert not is_suspected(text)


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "1 + " * MAX_LINE + "1",
        "x = (\n" + "1 +\n" * 600 + "1)",
        "\n".join(" " * n + "while x:" for n in range(MAX_BLOCKS + 2)) + "\n" + " " * 20 + "0",
        "\x0cx = 1",
        "x = 1\ry = 2",
        "# coding: latin-1\nx = 1",
        "async def f(): 0",
    ],
)
def test_what_may_go_wrong_out_of_sight_is_suspected(text: str) -> None:
    assert is_suspected(text)


FORMS = st.sampled_from(
    [
        *(f"{line}" for line in ("pass", "x = 1", "return 1", "break", "a, *b = c", "f(*a)", "*a")),
        *(
            "f(a=1, b=2)",
            "f(a=1, a=2)",
            "x = *a,",
            "import a",
            "from a import *",
            "yield",
            "x: int",
        ),
        *("return *a", "continue", "lambda a, b: 0", "lambda: 0", "[y for *y in z]", "global x"),
    ]
)
HEADS = st.sampled_from(
    [
        *("if x:", "while x:", "for a, *b in c:", "for *x in y:", "def f(a, b):", "def f(a, a):"),
        *("class C:", "with a as b:", "with a as (b, *c):", "try:", "async def f():"),
    ]
)


@st.composite
def modules(draw: st.DrawFn, depth: int = 3, indent: str = "") -> str:
    lines = []
    for _ in range(draw(st.integers(1, 3))):
        if depth and draw(st.booleans()):
            head = draw(HEADS)
            lines.append(indent + head)
            lines.append(draw(modules(depth=depth - 1, indent=indent + "    ")))
            if head == "try:":
                lines.append(indent + "except E: pass")
        else:
            lines.append(indent + draw(FORMS))
    return "\n".join(lines)


@given(modules())
def test_a_module_that_is_cleared_compiles(text: str) -> None:
    assert is_suspected(text) or not is_refused(text)
