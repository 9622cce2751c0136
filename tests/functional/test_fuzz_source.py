"""`source` against Python: what compiles says what importing says, the rest is one problem.

Three streams: modules that are made up, executed and inspected; tools that are damaged at random;
and the files of this interpreter, its own `test` package and its site-packages. A sample runs
always, the whole number under the marker `full`; a seed that fails is printed.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import io
import random
import sysconfig
import types
import typing
import warnings
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from discover_orch.model.parameter import SCALARS, Choice, EnumChoice, ParamType, Scalar
from discover_orch.source.code_meaning import read_imports
from discover_orch.source.facts import BrokenTool, ModuleFacts, RunFacts, UnknownType
from discover_orch.source.parse import PARSE_ERRORS, ignore_warnings
from discover_orch.source.read_module import read_module
from discover_orch.source.scope import Definition, ModuleScope
from discover_orch.source.source_file import names_of

AnyFacts = ModuleFacts | BrokenTool


def stored(facts: AnyFacts) -> AnyFacts:
    """The facts after they were written to the index and read from it."""
    again: AnyFacts = msgspec.json.decode(msgspec.json.encode(facts), type=AnyFacts)
    return again


# ---- modules that are made up and really executed -------------------------------------------

HEAD = '''"""Made up."""
import datetime as dt
import typing as t
from enum import Enum, IntEnum, StrEnum, auto
from pathlib import Path
from typing import Literal, Optional as O
ONE = "one"
TWO = ONE
PAIR = (ONE, "three")
NOTHING = None
class Stage(str, Enum):
    FIRST = "first"
    SECOND = "sec" "ond"
class Auto(StrEnum):
    LAST = auto()
class Kind(Enum):
    A = "a"
    B = 2
class Names:
    X = "x"
S = Stage
Since = O[dt.date]
'''

plain_values = st.sampled_from(
    [
        '"ingest"', "'a' 'b'", '"a" + "b"', '"""c"""', 'r"d"', '("e")', "ONE", "TWO", "PAIR",
        "Stage.FIRST", "Stage.SECOND.value", "Stage.FIRST.name", "Auto.LAST", "S.FIRST", "Names.X",
        "None", "NOTHING", '("f", ONE)', '["g", Stage.FIRST, Auto.LAST.value]', '("h",)', 'f"i"',
    ]
)  # fmt: skip
odd_values = st.sampled_from(
    ["3", "''", "()", "str('x')", "[n for n in 'ab']", "('a', 1)", "'a' if ONE else 'b'", "{'a'}"]
)
plain_bindings = st.builds(
    lambda form, value: form.replace("@", value),
    st.sampled_from(["STAGE = @", "STAGE: object = @", "X = STAGE = @", "STAGE = @; Y = 1"]),
    plain_values,
)
odd_bindings = st.builds(
    lambda form, value: form.replace("@", value),
    st.sampled_from(
        [
            "if ONE:\n    STAGE = @",
            "try:\n    STAGE = @\nfinally:\n    pass",
            "for STAGE in [@]: pass",
            "STAGE, Z = @, 1",
            "print(STAGE := @)",
            "del STAGE",
            "def STAGE(): return @",
            "class STAGE: pass",
            "STAGE = @",
            "import io as STAGE",
            "from string import digits as STAGE",
            "STAGE: str",
            "with open(__file__) as STAGE: pass",
            "STAGE += 'x'",
            "def f():\n    global STAGE\n    STAGE = @",
            "'''\nSTAGE = @\n'''",
            "# STAGE = @",
            "class C:\n    STAGE = @",
            "lambda: (STAGE := @)",
            "[STAGE for STAGE in [@]]",
            "if ONE: pass\nelif ONE: STAGE = @",
            "match @:\n    case STAGE: pass",
            "while not ONE: STAGE = @",
        ]
    ),
    odd_values | plain_values,
)
hints = st.sampled_from(
    [
        "", "str", "int", "float", "bool", "Path", "dt.date", "dt.datetime", "'int'", "int | None",
        "O[int]", "t.Optional[Path]", "list[int]", "t.List[str]", "Literal['a', 1]", "Kind",
        "Stage", "'list[Kind]'", "Since", "t.Annotated[int, 'x']", "dict[str, int]", "t.Any",
        "list[int] | None",
        "t.Union[int, None]", "int | str", "object", "'dt.date | None'", "O[Literal['a']]",
    ]
)  # fmt: skip
defaults = st.sampled_from(
    [
        "", "1", "-1", "1.5", "'x'", "None", "True", "[1, 2]", "('a', 'b')", "[]", "{'k': [1]}",
        "1e999", "b'x'", "1 + 1", "Path('x')", "Kind.A", "...", "'a' 'b'", "{1}", "print",
    ]
)  # fmt: skip


@st.composite
def signatures(draw: st.DrawFn) -> str:
    names = draw(st.lists(st.sampled_from("abcdefg"), unique=True, max_size=5))
    parts: list[str] = []
    has_default = False
    slash = draw(st.integers(0, 2))
    star = draw(st.integers(0, 5))
    for number, name in enumerate(names):
        kind, default = draw(hints), draw(defaults)
        is_keyword = number >= star
        if has_default and not default and not is_keyword:
            default = "None"
        has_default = has_default or bool(default)
        if number == star:
            parts.append(draw(st.sampled_from(["*", "*rest"])))
        text = name + (f": {kind}" if kind else "") + (f" = {default}" if default else "")
        parts.append(text)
        if number + 1 == slash and not is_keyword:
            parts.append("/")
    if draw(st.booleans()):
        parts.append("**extra")
    return ", ".join(parts)


@st.composite
def modules(draw: st.DrawFn) -> str:
    bindings = draw(st.lists(plain_bindings | odd_bindings, min_size=1, max_size=3))
    signature = draw(signatures())
    run = draw(
        st.sampled_from(
            [
                "def run(@):\n    'Do it.'",
                "async def run(@): ...",
                "def other(@): ...\nrun = other",
                "def other(@): ...\nalias = other\nrun = alias",
            ]
        )
    ).replace("@", signature)
    parts = [*bindings, run]
    if draw(st.booleans()):
        parts.reverse()
    return HEAD + "\n".join(parts) + "\n"


def check_module(text: str) -> str:
    """One text, read and executed; "refused", "problem" or "agrees" for the count."""
    data = text.encode()
    found = read_module(data, module="made.up", path="up.py")
    assert stored(found) == found
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = compile(data, "up.py", "exec", dont_inherit=True)
    except SyntaxError:
        assert isinstance(found, BrokenTool), text
        return "refused"
    assert isinstance(found, ModuleFacts), (text, found)
    module = types.ModuleType("made.up")
    module.__dict__["__file__"] = __file__
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            exec(code, module.__dict__)  # texts of this file alone
        except (NameError, TypeError):
            return "fails"  # `del STAGE` or `STAGE += "x"` before it is bound
    real = module.__dict__
    outcome = check_stage(found, real, text)
    assert found.run is not None, text
    check_signature(found.run, real["run"], real, text)
    for handle in real.values():
        if isinstance(handle, io.IOBase):
            handle.close()
    return outcome


def check_stage(facts: ModuleFacts, real: dict[str, Any], text: str) -> str:
    stage = facts.stage
    if stage is None:
        is_foreign = facts.miss.startswith("STAGE is imported")
        assert is_foreign or "STAGE" not in real, text
        return "agrees"
    if stage.problem:
        assert not certain(text), (text, stage)
        return "problem"
    value = real["STAGE"]
    assert stage.is_off == (value is None), text
    if value is not None:
        items = value if isinstance(value, (tuple, list)) else [value]
        expected = [item.value if isinstance(item, Enum) else item for item in items]
        assert list(stage.words) == expected, text
        assert stage.words
    return "agrees"


def certain(text: str) -> bool:
    """Whether the last binding is a plain one, told from the text alone."""
    rest = text.removeprefix(HEAD)
    last = [line for line in rest.splitlines() if "STAGE" in line][-1]
    is_plain = last.startswith(("STAGE = ", "STAGE: object = ", "X = STAGE = "))
    odd = ("3", "''", "()", "str(", "[n for", "('a', 1)", "if ONE", "{'a'}")
    is_alone = rest.count("STAGE") == 1
    return is_plain and is_alone and not any(f"= {word}" in last or word in last for word in odd)


def check_signature(run: RunFacts, function: Any, real: dict[str, Any], text: str) -> None:
    assert run.is_readable, text
    assert run.is_async == inspect.iscoroutinefunction(function), text
    kinds = inspect.Parameter
    signature = inspect.signature(function)
    wanted = [
        one
        for one in signature.parameters.values()
        if one.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)
    ]
    assert [one.name for one in run.arguments] == [one.name for one in wanted], text
    has_extra = any(one.kind is kinds.VAR_KEYWORD for one in signature.parameters.values())
    assert run.takes_extra == has_extra, text
    hints = typing.get_type_hints(function, real, include_extras=True)
    for argument, one in zip(run.arguments, wanted, strict=True):
        assert argument.is_positional_only == (one.kind is kinds.POSITIONAL_ONLY), text
        assert (argument.default_source is None) == (one.default is one.empty), text
        if argument.default is not None:
            assert argument.default == listed(one.default), text
        for typed in argument.default_texts:
            assert typed == listed(one.default), text
        if argument.default_source is not None:
            again = eval(argument.default_source, dict(real))
            assert again == one.default, text
        if one.name in hints:
            expected = real_type(hints[one.name])
            if isinstance(expected, ParamType) and one.default is None:
                expected = ParamType(base=expected.base, many=expected.many, optional=True)
            if expected is None:
                assert isinstance(argument.type, UnknownType), (text, argument)
            else:
                assert argument.type == expected, text
        else:
            assert isinstance(argument.type, ParamType), text


def listed(value: Any) -> Any:
    """As JSON has it: tuples as lists, members of an Enum and paths as one would type them."""
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, Path):
        return str(value)
    return [listed(item) for item in value] if isinstance(value, (tuple, list)) else value


def real_type(hint: Any) -> ParamType | None:
    """The same type, from the real object that an annotation is once Python has evaluated it."""
    if typing.get_origin(hint) is typing.Annotated:
        hint = hint.__origin__
    origin, items = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        others = [item for item in items if item is not type(None)]
        inner = real_type(others[0]) if len(others) == 1 else None
        if inner is None:
            return None
        return ParamType(base=inner.base, many=inner.many, optional=True)
    if origin is list:
        inner = real_type(items[0])
        if inner is None or inner.many or inner.optional:
            return None
        return ParamType(base=inner.base, many=True)
    if origin is typing.Literal:
        return ParamType(base=Choice(values=items))
    if isinstance(hint, type) and issubclass(hint, Enum):
        members = tuple((one.name, str(one.value)) for one in hint)
        base = EnumChoice(module="made.up", name=hint.__name__, members=members)
        return ParamType(base=base)
    for name, kind in SCALARS.items():
        module, _, word = name.rpartition(".")
        if hint is getattr(importlib.import_module(module), word):
            return ParamType(base=Scalar(kind=kind))
    return None


def run_made_up(examples: int) -> dict[str, int]:
    counts: dict[str, int] = {}

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(modules())
    def check(text: str) -> None:
        outcome = check_module(text)
        counts[outcome] = counts.get(outcome, 0) + 1

    check()
    return counts


@pytest.mark.slow
def test_made_up_modules_say_what_importing_them_says() -> None:
    counts = run_made_up(400)
    assert counts["agrees"] > 100


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_made_up_modules_in_full() -> None:
    print(run_made_up(10_000))


# ---- tools that are damaged at random ---------------------------------------------------------

SEEDS = [
    HEAD + "STAGE = 'ingest'\nAFTER = ('fetch', 'b')\ndef run(conn, *, since: Since = None): ...\n",
    '''# -*- coding: utf-8 -*-
"""Turn raw rows into records."""
from __future__ import annotations

import csv
from pathlib import Path

STAGE = ("ingest", "analyze")
AFTER = "fetch"
ORCH = {"inputs": ["data/*.csv"], "retries": 2}

async def load(rows, *names, key=lambda row: row[0], **options):
    async with rows as items:
        async for item in items:
            yield await item

def run(conn, *, source: Path = Path("data.csv"), limit: int = 100) -> dict[str, int]:
    """Run it.

    Args:
        source: Where the rows come from.
    """
    total = 0
    for number, (name, *rest) in enumerate(csv.reader(source.open(encoding="utf-8"))):
        if not name:
            continue
        try:
            total += int(name, base=10)
        except (ValueError, TypeError) as error:
            print(f"{number}: {error!r}", end="", sep="")
            break
        finally:
            pass
    else:
        total = 0
    with conn as one, open("x") as two:
        return {"rows": total, **dict(a=1, b=2)}
''',
    '''STAGE: str = "render"
TEXT = """
STAGE = "no"
"""
class Page:
    title = "é"
    def write(self, out, /, *, end="\\n"):
        nonlocal_ = [x for x, *y in out if x]
        while True:
            if (n := len(out)) > 3:
                return nonlocal_
            match out:
                case [a, b, *rest] if a:
                    break
                case {"k": v, **more}:
                    continue
def run(conn, a=1, b="x", *rest, c=[1, 2], **extra):
    global TEXT
    TEXT = f"{a}{b!r:>{c[0]}}"
    def inner():
        nonlocal a
        a = 1
        return lambda q, r=2: q(k=1, j=2)
    try:
        pass
    except* ValueError:
        pass
''',
]
TOKENS = [
    b"return", b"yield ", b"await ", b"break", b"continue", b"*", b"**", b"(", b")", b"[", b"]",
    b"{", b"}", b"=", b":=", b":", b",", b"\0", b"\xff", b"\xc3\xa9", b"\\\n", b"\\", b"'''", b'"',
    b"\n", b"\r", b"\r\n", b"\x0c", b"\t", b"    ", b" ", b"#", b";", b"@", b"global STAGE\n",
    b"nonlocal x\n", b"lambda ", b"for ", b" in ", b"if ", b"else", b"def ", b"class ", b"async ",
    b"STAGE", b"a", b"a=1, ", b"None", b"import *", b"from x import *\n", b"del STAGE\n",
    b"return\n",
    b"__debug__", b"from __future__ import annotations\n", b"except:", b"try:\n", b"f'{*a}'",
    b"# coding: latin-1\n", b"\xef\xbb\xbf", b"0777", b"\\N{x}", b"1e999", b"type X = int\n", b"!",
]  # fmt: skip


def damaged(chance: random.Random) -> bytes:
    data = bytearray(chance.choice(SEEDS).encode())
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        place = chance.randrange(len(data) + 1)
        kind = chance.randrange(7)
        if kind == 0:
            data[place:place] = chance.choice(TOKENS)
        elif kind == 1:
            del data[place : place + chance.choice((1, 1, 2, 4, 30))]
        elif kind == 2:
            data[place : place + 1] = bytes([chance.randrange(256)])
        else:
            lines = bytes(data).split(b"\n")
            number = chance.randrange(len(lines))
            if kind == 3:
                del lines[number]
            elif kind == 4:
                lines[number] = lines[number].lstrip()
            elif kind == 5:
                lines[number] = b"    " * chance.randrange(3) + chance.choice(TOKENS)
            else:
                lines.insert(chance.randrange(len(lines)), lines[number])
            data = bytearray(b"\n".join(lines))
    return bytes(data)


def check_bytes(data: bytes) -> str:
    """Whether facts are there exactly where Python compiles the bytes, and true to a full parse."""
    found = read_module(data, module="a.b", path="b.py")
    assert stored(found) == found
    tree = compiled(data)
    if tree is None:
        assert isinstance(found, BrokenTool)
        (problem,) = found.problems
        assert problem.message.isprintable()
        assert problem.message
        assert problem.hint
        assert problem.location is not None
        last = len(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"))
        assert 1 <= (problem.location.line or 0) <= last
        return f"refused ({problem.code})"
    assert isinstance(found, ModuleFacts), found
    check_naively(tree, found)
    attributes = [one for one in ast.walk(tree) if isinstance(one, ast.Attribute)]
    names_of(read_imports(tree, attributes), "a")
    return "read"


def compiled(data: bytes) -> ast.Module | None:
    with ignore_warnings():
        try:
            compile(data, "b.py", "exec", dont_inherit=True)
            return ast.parse(data)
        except PARSE_ERRORS:
            return None


def check_naively(tree: ast.Module, found: ModuleFacts) -> None:
    """The tags and `run` as a look at all top-level statements says, where it says anything."""
    plain: dict[str, ast.AST] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            plain |= {one.id: node.value for one in node.targets if isinstance(one, ast.Name)}
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            plain[node.name] = node
        for name in {"STAGE", "AFTER", "run"} & bound_in_odd_ways(node):
            plain.pop(name, None)
    for name, tag in (("STAGE", found.stage), ("AFTER", found.after)):
        value = plain.get(name)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            assert tag is not None
            assert tag.words == (value.value,) or not value.value.strip()
            assert tag.line <= value.lineno
    run = plain.get("run")
    if isinstance(run, (ast.FunctionDef, ast.AsyncFunctionDef)):
        assert found.run is not None
        wanted = [*run.args.posonlyargs, *run.args.args, *run.args.kwonlyargs]
        assert [one.name for one in found.run.arguments] == [one.arg for one in wanted]
        assert found.run.takes_extra == (run.args.kwarg is not None)


def bound_in_odd_ways(node: ast.stmt) -> set[str]:
    """Names that a statement may bind otherwise than by a plain assignment or `def`, roughly."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return set()
    plain: set[int] = set()
    if isinstance(node, ast.Assign):
        plain.update(map(id, node.targets))
    found = {"STAGE", "AFTER", "run"} if not isinstance(node, (ast.Assign, ast.Expr)) else set()
    for one in ast.walk(node):
        if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load) and id(one) not in plain:
            found.add(one.id)
    return found


def run_damaged(number: int, seed: int) -> dict[str, int]:
    chance = random.Random(seed)
    counts: dict[str, int] = {}
    for trial in range(number):
        data = damaged(chance)
        if b"STAGE" not in data:
            data += b"\n# STAGE\n"
        try:
            outcome = check_bytes(data)
        except BaseException:
            print(f"seed {seed}, trial {trial}: {data!r}")
            raise
        counts[outcome] = counts.get(outcome, 0) + 1
    return counts


def test_damaged_tools_are_read_exactly_where_python_compiles_them() -> None:
    counts = run_damaged(600, seed=random.randrange(10**6))
    assert counts["read"] > 50


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_damaged_tools_in_full() -> None:
    print(run_damaged(10_000, seed=random.randrange(10**6)))


@given(st.binary(max_size=60))
def test_any_bytes_give_facts_or_one_problem(data: bytes) -> None:
    check_bytes(b"STAGE" + data)
    check_bytes(data + b"\nSTAGE = 'a'\n")


# ---- the files of this interpreter ------------------------------------------------------------


def interpreter_files() -> list[Path]:
    """The standard library with its tests, and site-packages of the running interpreter."""
    paths = sysconfig.get_paths()
    roots = {Path(paths[key]) for key in ("stdlib", "purelib", "platlib")}
    return sorted({path for root in roots for path in root.rglob("*.py") if path.is_file()})


def check_files(files: list[Path]) -> Iterator[str]:
    for path in files:
        data = path.read_bytes()
        if len(data) > 2_000_000:
            continue
        try:
            outcome = check_bytes(data)
            tree = compiled(data)
            if tree is not None:
                check_names(tree)
        except BaseException:
            print(path)
            raise
        yield outcome


def check_names(tree: ast.Module) -> None:
    """Every function and every constant of text, as a full parse says."""
    scope = ModuleScope(tree, "a.b")
    last: dict[str, ast.stmt | None] = {}
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            last[node.name] = node
            continue
        for one in ast.walk(node):
            if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load):
                is_plain = isinstance(node, ast.Assign) and one in node.targets
                last[one.id] = node if is_plain else None
            elif isinstance(one, (ast.alias, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                name = one.asname or one.name if isinstance(one, ast.alias) else one.name
                last[name.partition(".")[0]] = None
            elif isinstance(one, ast.ExceptHandler) and one.name:
                last[one.name] = None
    for name, binding in last.items():
        if isinstance(binding, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found = scope.find(ast.Name(id=name))
            assert isinstance(found, Definition)
            assert found.node is binding
        elif isinstance(binding, ast.Assign):
            try:
                value = ast.literal_eval(binding.value)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                continue
            if isinstance(value, str) and value.isascii():
                assert scope.value(ast.Name(id=name), len(tree.body)) == value


@pytest.mark.slow
def test_a_sample_of_the_files_of_this_interpreter() -> None:
    files = interpreter_files()
    sample = random.Random(len(files)).sample(files, min(50, len(files)))
    assert set(check_files(sample)) & {"read"}


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_all_files_of_this_interpreter() -> None:
    counts: dict[str, int] = {}
    for outcome in check_files(interpreter_files()):
        counts[outcome] = counts.get(outcome, 0) + 1
    print(counts)
    assert counts["read"] > 500
