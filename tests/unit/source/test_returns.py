"""What a call of a function gives, told from its text alone."""

from __future__ import annotations

import ast
import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.source.returns import find_ignored_return, find_yield
from discover_orch.source.scope import ModuleScope

EXPRESSIONS = [
    *(
        "1",
        "(yield)",
        "[x for x in (yield)]",
        "lambda: (yield)",
        "lambda x=(yield): x",
        "(lambda: 1)",
    ),
    *("f(*(yield), k=1)", "'yield'", "a[(yield 1)]"),
]
STATEMENTS = [
    *("@\n", "x = @\n", "return\n", "def inner():\n    @\n", "class Inner:\n    y = 2\n"),
    *("async def inner():\n    @\n", "if a:\n    @\nelse:\n    pass\n", "for x in @: pass\n"),
    *("with @: pass\n", "try:\n    pass\nfinally:\n    @\n", "yield from ()\n", "# yield\n"),
    *("match a:\n    case 1 if @: pass\n", "def inner(x=@): pass\n"),
]


@st.composite
def bodies(draw: st.DrawFn) -> str:
    parts = draw(st.lists(st.sampled_from(STATEMENTS), min_size=1, max_size=3))
    lines = [
        line
        for part in parts
        for line in part.replace("@", draw(st.sampled_from(EXPRESSIONS))).splitlines()
    ]
    return "\n".join(f"    {line}" for line in [*lines, "pass"])


@given(bodies(), st.sampled_from(["def", "async def"]))
def test_a_function_yields_where_python_makes_a_generator_of_it(body: str, word: str) -> None:
    text = f"{word} run(a=[0], f=print):\n{body}\n"
    try:
        code = compile(text, "x.py", "exec")
    except SyntaxError:
        return  # `yield from` in an `async def`
    made: dict[str, object] = {}
    exec(code, made)
    (node,) = ast.parse(text).body
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    is_generator = inspect.isgeneratorfunction(made["run"]) or inspect.isasyncgenfunction(
        made["run"]
    )
    assert (find_yield(node) is not None) == is_generator, text


def ignored(text: str) -> tuple[int, str] | None:
    tree = ast.parse(text)
    function = tree.body[-1]
    assert isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
    return find_ignored_return(function, ModuleScope(tree, "src.x"))


@pytest.mark.parametrize(
    ("body", "line", "kind"),
    [
        ("return [1]", 3, "a list"),
        ("return x, 1", 3, "a tuple"),
        ("return {n for n in x}", 3, "a set"),
        ("return (n for n in x)", 3, "a generator"),
        ("return f'{x}'", 3, "a str"),
        ("return 344", 3, "an int"),
        ("return True", 3, "a bool"),
        ("if x:\n        return None\n    return [1]", 5, "a list"),
        ("try:\n        pass\n    except OSError:\n        return [1]", 6, "a list"),
        ("return pd.DataFrame(x)", 3, "a DataFrame"),
        ("return pd.read_csv('x.csv')", 3, "a DataFrame"),
        ("df = pd.read_csv('x.csv')\n    df['a'] = 1\n    return df", 5, "a DataFrame"),
    ],
)
def test_a_value_that_is_certainly_no_mapping_is_found(body: str, line: int, kind: str) -> None:
    assert ignored(f"import pandas as pd\ndef run(x):\n    {body}\n") == (line, kind)


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        *(("pd.DataFrame", "a DataFrame"), ("int", "an int"), ("list[dict[str, int]]", "a list")),
        *(("dict[str, int]", None), ("None", None), ("pd.DataFrame | None", None), ("Rows", None)),
    ],
)
def test_an_annotation_says_what_is_returned(annotation: str, kind: str | None) -> None:
    found = ignored(f"import pandas as pd\ndef run(x) -> {annotation}:\n    return f(x)\n")
    assert found == (None if kind is None else (2, kind))


@pytest.mark.parametrize(
    "body",
    [
        "return",
        "return None",
        "return {'rows': 1}",
        "return dict(rows=1)",
        "return f(x)",
        "return x",
        "return pd.concat(x)",  # not known to be one
        "return x.read_csv('a')",
        "df = pd.read_csv('x.csv')\n    df = df.to_dict()\n    return df",
        "for df in x:\n        pass\n    df = pd.DataFrame()\n    return df",
        "def inner():\n        return [1]\n    return inner()",
        "return [1] if x else None",
        "return x or [1]",
        "global df\n    df = pd.DataFrame()\n    return df",
    ],
)
def test_what_may_be_a_mapping_or_none_is_no_false_alarm(body: str) -> None:
    assert ignored(f"import pandas as pd\ndef run(x):\n    {body}\n") is None
