"""`meaning` by itself: two texts mean the same exactly where `ast.dump` says so."""

from __future__ import annotations

import ast
import random
import subprocess
import sys
import sysconfig
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.source.code_meaning import hash_code
from tests.support.marks import slow_but
from tests.support.project_builder import clean_environment

LIBRARY = Path(sysconfig.get_path("stdlib"))
CORPUS = ("bisect.py", "json/decoder.py", "textwrap.py", "shelve.py")
LARGE = ("dataclasses.py", "enum.py")
PARSED = [
    *("x = 1", "x = 2", "x = 1.0", "x = True", "x = 1j", "x = '1'", "x = b'1'", "x = None", "x = ...", "x = 0x1"),
    *("x = 0.0", "x = -0.0", "x = 1e999", "x = 0", "x = False", "x = ''", "x = b''", "x = 0j", "x = -0j"),
    *("x = 10**40", f"x = {10**40}", f"x = {10**40 + 1}", "x = u'1'", "x = 'Name'", "x = Name"),
    *("x = (1)", "x = (1,)", "x = 1,", "x = [1]", "x = {1}", "x = {1: 1}", "x = {**a}", "x = {a: b}"),
    *("x = '\\ud800'", "x = '\\ud801'", "x = '\\0'", "x = 'a' 'b'", "x = 'ab'", "x = \"ab\"", "x = f'ab'", "x = f'{a}'"),
    *("x = f'{a!r}'", "x = f'{a!s}'", "x = f'{a:b}'", "x = f'{a=}'", "x = f'{a = }'", "x = a.b", "x = a[b]"),
    *("x = a[b:c]", "x = a[b, c]", "x = a[b:c:d]", "x = a[:b]", "x = a[b:]", "x = a + b", "x = a - b", "x += a"),
    *("x = a < b < c", "x = a < (b < c)", "x = a and b and c", "x = (a and b) and c", "x = not a", "x = -a"),
    *("x: int", "x: int = 1", "(x): int = 1", "x = y = 1", "x, y = 1", "(x, y) = 1", "x, *y = 1", "del x", "del x, y"),
    *("import a", "import a as b", "import a, b", "from a import b", "from .a import b", "from . import b"),
    *("from a import b as c", "from a import *", "pass", "global a", "global a, b", "return", "return a", "raise a"),
    *("raise a from b", "assert a", "assert a, b", "f(a)", "f(*a)", "f(**a)", "f(a=b)", "f(b, a)", "f(a for a in b)"),
    *("[a for a in b]", "[a for a in b if c]", "[a for a in b for c in d]", "{a for a in b}", "(a for a in b)"),
    *("async def f():\n [a async for a in b]", "async def f():\n [a for a in b]", "def f():\n await_", "lambda: a"),
    *("lambda a: a", "lambda a=b: a", "lambda *a: a", "lambda **a: a", "lambda a, /: a", "lambda *, a: a"),
    *("lambda *, a, b=c: a", "lambda *, a=c, b: a", "def f(): pass", "def f() -> a: pass", "def f(a: b): pass"),
    *("@a\ndef f(): pass", "async def f(): pass", "class f: pass", "class f(a): pass", "class f(a=b): pass"),
    *("def f():\n 'a'", "def f():\n 'b'", "def f():\n '''a'''", "'doc'", "'other'", "if a: b", "if a: b\nelse: c"),
    *("if a: b\nelif c: d", "if a: b\nelse:\n if c: d", "for a in b: c", "for a in b: c\nelse: d", "while a: b"),
    *("with a: b", "with a as c: b", "with a, c: b", "with a:\n with c: b", "try: a\nfinally: b", "try: a\nexcept: b"),
    *("try: a\nexcept c: b", "try: a\nexcept c as d: b", "try: a\nexcept* c: b", "a if b else c", "(a := b)", "a; b"),
    *("match a:\n case b: c", "match a:\n case 1: c", "match a:\n case b.d: c", "match a:\n case [b, *d]: c"),
    *("match a:\n case {'k': b, **d}: c", "match a:\n case K(b, k=d): c", "match a:\n case b | d: c", "match a:\n case _: c"),
    *("match a:\n case b as d: c", "match a:\n case None: c", "match a:\n case [b, *_]: c", "def f(): yield", "def f(): yield a"),
    *("def f(): yield from a", "def f():\n nonlocal a", "x = a @ b", "x = a ** b", "x = ~a", "x = a is b", "x = a is not b"),
]  # fmt: skip


def hash_module(tree: ast.Module) -> str:
    """With all docstrings and all keys of `ORCH`."""
    return hash_code(tree, b"__doc__")[0]


def hash_behaviour(tree: ast.Module) -> str:
    return hash_code(tree, b"ORCH __doc__")[0]


def read(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text)


def test_small_texts_fall_into_the_same_classes_as_by_dump() -> None:
    by_dump: dict[str, set[str]] = {}
    by_meaning: dict[str, set[str]] = {}
    for text in PARSED:
        tree = read(text)
        by_dump.setdefault(ast.dump(tree), set()).add(text)
        by_meaning.setdefault(hash_module(tree), set()).add(text)
    assert sorted(map(sorted, by_meaning.values())) == sorted(map(sorted, by_dump.values()))
    assert len(by_dump) > 150


@given(st.lists(st.sampled_from(PARSED), max_size=4), st.lists(st.sampled_from(PARSED), max_size=4))
def test_pairs_agree_with_dump(one: list[str], other: list[str]) -> None:
    first, second = read("\n".join(one)), read("\n".join(other))
    assert (hash_module(first) == hash_module(second)) == (ast.dump(first) == ast.dump(second))


constants = st.one_of(
    st.integers(), st.floats(), st.booleans(), st.text(), st.binary(), st.complex_numbers(),
    st.sampled_from([None, ..., 0, 0.0, -0.0, False, "", b"", 1, True, 1.0, "1", b"1", 2**70]),
)  # fmt: skip


@given(constants, constants)
def test_constants_are_told_apart_as_dump_does(one: object, other: object) -> None:
    first = ast.Module(body=[ast.Expr(value=ast.Constant(value=one))], type_ignores=[])  # type: ignore[arg-type]
    second = ast.Module(body=[ast.Expr(value=ast.Constant(value=other))], type_ignores=[])  # type: ignore[arg-type]
    assert (hash_module(first) == hash_module(second)) == (ast.dump(first) == ast.dump(second))


@pytest.mark.parametrize("name", slow_but(CORPUS, (*CORPUS, *LARGE)))
def test_layout_does_not_count(name: str) -> None:
    text = (LIBRARY / name).read_text(encoding="utf-8")
    meaning = hash_module(read(text))
    tree = read(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            node.kind = None
    assert hash_module(read(ast.unparse(tree))) == hash_module(tree)
    lines = text.replace("\r\n", "\n").split("\n")
    assert hash_module(read("# first\n\n" + text + "\n\n# last")) == meaning
    assert hash_module(read("if 1:\n    pass\n" + text)) != meaning
    assert hash_module(read("\r\n".join(lines))) == meaning


@pytest.mark.parametrize("name", slow_but(CORPUS, (*CORPUS, *LARGE)))
def test_small_edits_count_exactly_where_dump_says_so(name: str) -> None:
    text = (LIBRARY / name).read_text(encoding="utf-8")
    tree = read(text)
    meaning, dump = hash_module(tree), ast.dump(tree)
    chance = random.Random(name)
    tried = 0
    while tried < 60:
        position = chance.randrange(len(text))
        piece = chance.choice(["", " ", "x", "1", "(", ")", "\n", "#", ".", "_", "'", "not "])
        edited = text[:position] + piece + text[position + chance.randrange(2) :]
        try:
            other = read(edited)
        except (SyntaxError, ValueError):
            continue
        tried += 1
        assert (hash_module(other) == meaning) == (ast.dump(other) == dump), (position, piece)


def test_the_meaning_is_the_same_in_each_process() -> None:
    text = "def f(a: int = 1) -> str:\n    return {b'x': 'y', **a}\n"
    program = f"import ast; from discover_orch.source.code_meaning import *; print(hash_code(ast.parse({text!r}), b'__doc__')[0])"
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=clean_environment(PYTHONHASHSEED=number),
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for number in ("1", "2")
    }
    assert said == {hash_module(read(text))}


def test_a_tree_may_be_deep_and_a_number_long() -> None:
    assert hash_module(read("x = " + "+".join("a" * 900))) != hash_module(read("x = a"))
    node: ast.expr = ast.Name(id="a", ctx=ast.Load())
    for _ in range(50_000):
        node = ast.UnaryOp(op=ast.Not(), operand=node)
    assert len(hash_module(ast.Module(body=[ast.Expr(value=node)], type_ignores=[]))) == 32
    number = "0x" + "f" * 6000
    assert hash_module(read(number)) == hash_module(read(f"({number})"))


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("ORCH = {'retries': 1}", "ORCH = {'retries': 2}", True),
        (
            "ORCH = {'max_age': '1d'}",
            "ORCH = {'max_age': '6h', 'repeatable': True, 'always': True}",
            True,
        ),
        ("ORCH = {'timeout': 1, 'name': 'a'}", "ORCH = {'name': 'a'}", True),
        ("ORCH = {'tokens': {'gpu': 1}, 'cancel': False, 'retry_delay': 3}", "", True),
        ("ORCH: dict = {'cancel': False}", "ORCH: dict = {}", True),
        ("ORCH = {'always': True}", "ORCH = {}", True),
        ("ORCH = {'outputs': 'a'}", "ORCH = {'outputs': 'b'}", False),
        ("OTHER = {'retries': 1}", "OTHER = {'retries': 2}", False),
        ("def f():\n    ORCH = {'retries': 1}", "def f():\n    ORCH = {'retries': 2}", False),
        ("ORCH = {'retries': 1}; x = 1", "ORCH = {'retries': 1}; x = 2", False),
    ],
)
def test_how_a_tool_is_run_has_no_effect(one: str, other: str, is_same: bool) -> None:
    assert (hash_behaviour(read(one)) == hash_behaviour(read(other))) == is_same
    assert hash_module(read(one)) != hash_module(read(other))


@given(st.sampled_from(PARSED))
def test_without_the_tag_the_effect_is_the_meaning(text: str) -> None:
    assert hash_behaviour(read(text)) == hash_module(read(text))


DOCUMENTED = (
    "'''Reads {0}.'''\nimport a\nclass A:\n    '{0}'\n    x = 1\n"
    "    async def f(self): '{0}'\ndef run():\n    '{0}'\n    return 'kept'\n"
)


def test_docstrings_do_not_count_and_other_strings_do() -> None:
    one, other = (DOCUMENTED.format(word).encode() for word in ("files", "tables"))
    assert hash_code(ast.parse(one), one)[0] == hash_code(ast.parse(other), other)[0]
    changed = one.replace(b"'kept'", b"'other'")
    assert hash_code(ast.parse(one), one)[0] != hash_code(ast.parse(changed), changed)[0]
    read = b"\nprint(run.__doc__)\n"
    assert hash_code(ast.parse(one), one + read)[0] != hash_code(ast.parse(other), other + read)[0]
    moved = b"x = 1\n'files'\n", b"x = 1\n'tables'\n"
    assert len({hash_code(ast.parse(text), text)[0] for text in moved}) == 2
