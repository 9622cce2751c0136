"""Random projects whose tools share modules, and what happens to their code.

Each definition gives a number for a number, so that a tool writes the sum of those that it calls. Which of them run depends
on the numbers in the tools' files.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

MODULES = ("low", "high")
#: How a definition is written: `N` is its name, `V` a number that edits change, `A` and `B` are others that it calls, in
#: lower modules or earlier in its own; `H` is a parameter that an edit adds, `D` a docstring.
KINDS: Mapping[str, str] = {
    "plain": "def N(xH):D\n    return x + V\n",
    "branch": "def N(xH):D\n    if x % 2:\n        return A(x) + V\n    return B(x)\n",
    "calls": "def N(xH):D\n    return A(x) * 2 + V\n",
    "constant": "C_N = V\n\n\ndef N(xH):D\n    return x + C_N\n",
    "loaded": "C_N = A(3) + V\n\n\ndef N(xH):D\n    return x + C_N\n",
    "default": "def N(x, y=V):D\n    return x + y\n",
    "nested": "def N(xH):D\n    def inner(y):\n        return y + V\n\n    return inner(x)\n",
    "lambda": "L_N = lambda x: x + V\n\n\ndef N(xH):D\n    return L_N(x)\n",
    "generator": "def g_N(x):\n    yield x\n    yield V\n\n\ndef N(xH):D\n    return sum(g_N(x))\n",
    "class": "class K_N:\n    step = V\n\n    def m(self, x):D\n        return x + self.step\n\n    def other(self, x):\n"
    "        return A(x) + V\n\n\ndef N(xH):D\n    return K_N().m(x)\n",
    "inherits": "class P_N:\n    def m(self, x):D\n        return x + V\n\n\nclass K_N(P_N):\n    @property\n    def p(self):\n"
    "        return V\n\n\ndef N(xH):D\n    return K_N().m(x) + (K_N().p if x % 2 else 0)\n",
    "decorated": "def d_N(f):\n    def inner(x):\n        return f(x) + V\n\n    return inner\n\n\n@d_N\ndef N(xH):D\n    return A(x)\n",
    "cached": "@functools.lru_cache\ndef N(xH):D\n    return A(x) + V\n",
    "kept": "K_N = {}\n\n\ndef s_N():\n    return V\n\n\ndef N(xH):D\n    if 0 not in K_N:\n        K_N[0] = s_N()\n    return x + K_N[0]\n",
    "kept object": "class O_N:\n    def __init__(self):\n        self.kept = None\n\n    def get(self):\n        if self.kept is None:\n"
    "            self.kept = A(1) + V\n        return self.kept\n\n\no_N = O_N()\n\n\ndef N(xH):D\n    return x + o_N.get()\n",
    "kept property": "class O_N:\n    @functools.cached_property\n    def p(self):\n        return A(2) + V\n\n\no_N = O_N()\n\n\n"
    "def N(xH):D\n    return x + o_N.p\n",
    "kept global": "g_N = None\n\n\ndef N(xH):D\n    global g_N\n    if g_N is None:\n        g_N = A(1) + V\n    return x + g_N\n",
    "table": "T_N = {0: A, 1: B}\n\n\ndef N(xH):D\n    return T_N[x % 2](x) + V\n",
    "registry": "R_N = []\n\n\ndef r_N(f):\n    R_N.append(f)\n    return f\n\n\n@r_N\ndef e_N(x):\n    return x + V\n\n\n"
    "def N(xH):D\n    return R_N[0](x)\n",
    "handed": "def N(xH):D\n    return sum(map(A, [x])) + V\n",
    "named": "def N(xH):D\n    return getattr(sys.modules[__name__], 'f_N')(x)\n\n\ndef f_N(x):\n    return x + V\n",
    "computed": "def f_N_0(x):\n    return x + V\n\n\ndef N(xH):D\n    return getattr(sys.modules[__name__], f'f_N_{x * 0}')(x)\n",
    "counts names": "def N(xH):D\n    return x + len([one for one in dir(sys.modules[__name__]) if one[:4] == 'new_'])\n",
    "documented": 'def f_N(x):\n    """Text V."""\n\n\ndef N(xH):D\n    return x + len(f_N.__doc__)\n',
    "sized": "def N(xH):D\n    import inspect\n\n    return x + len(inspect.getsource(A)) + V\n",
    "coded": "def f_N_0(x):\n    return x + V\n\n\ndef N(xH):D\n    code = getattr(sys.modules[__name__], f'f_N_{x * 0}').__code__\n"
    "    return x + sum(code.co_code) + sum(one for one in code.co_consts if type(one) is int)\n",
    "defaults": "def N(xH):D\n    return x + (A.__defaults__ or (V,))[0]\n",
    "formatted": "def N(xH):D\n    from src.lib import high\n\n    return x + len('{0.A.__doc__}'.format(high))\n",
    "formatted in a package": "def N(xH):D\n    import src.lib.high\n\n    return x + len('{0.A.__doc__}'.format(src.lib.high))\n",
    "conditional": "if V % 2:\n\n    def N(xH):D\n        return x + V\n\nelse:\n\n    def N(xH):D\n        return x - V\n",
    "asked": "def N(xH):D\n    extra = getattr(sys.modules[__name__], 'new_N', None)\n    return x + (extra() if extra else V)\n",
    "shadows": "def N(xH):D\n    return abs(x) + V\n",
    "dispatched": "@functools.singledispatch\ndef N(xH):D\n    return 'no'\n\n\n@N.register(int)\ndef _(x):\n    return x + V\n",
    "closed": "def m_N(n):\n    def inner(x):\n        return x + n\n\n    return inner\n\n\nN = m_N(V)\n",
    "partial": "N = functools.partial(lambda n, x: A(x) + n, V)\n",
    "enum": "class E_N(enum.IntEnum):\n    one = V\n\n    def more(self):D\n        return self.value + 1\n\n\ndef N(xH):D\n    return x + E_N.one.more()\n",
    "data class": "@dataclasses.dataclass\nclass D_N:\n    x: int\n    y: int = V\n\n    def total(self):D\n        return self.x + self.y\n\n\n"
    "def N(xH):D\n    return D_N(x).total()\n",
    "tried": "def N(xH):D\n    try:\n        return A(x, 1)\n    except TypeError:\n        return x + V\n",
}  # fmt: skip
#: What is in modules as most are: only that names are looked up, handed on, kept or read as text is left out.
ORDINARY = (
    "plain", "branch", "calls", "constant", "loaded", "default", "nested", "lambda", "generator", "class", "inherits",
    "decorated", "cached", "conditional", "dispatched", "closed", "partial", "enum", "data class",
)  # fmt: skip
IMPORTS = "import dataclasses\nimport enum\nimport functools\nimport sys\n"
#: Edits of one definition, and of a module.
OF_ONE = ("number", "number", "number", "number", "header", "docstring", "move")
OF_MODULE = ("new function", "new builtin", "asked function", "comment", "order")


@dataclass(frozen=True)
class Definition:
    name: str
    kind: str
    module: str
    a: str
    b: str


@dataclass(frozen=True)
class Tool:
    """It calls each of `calls` if its number has this remainder by 3, or always (-1)."""

    name: str
    calls: tuple[tuple[str, int], ...]
    is_whole: bool = False  # `from src.lib.high import *`


@dataclass(frozen=True)
class Step:
    kind: str
    name: str = ""


@dataclass(frozen=True)
class History:
    definitions: tuple[Definition, ...]
    tools: tuple[Tool, ...]
    steps: tuple[Step, ...]

    def is_ordinary(self, tool: Tool) -> bool:
        """Whether all modules that this tool imports are."""
        homes = {one.name: one.module for one in self.definitions}
        used = {homes[name] for name, _ in tool.calls}
        reached = MODULES if MODULES[1] in used else MODULES[:1]
        kinds = {one.kind for one in self.definitions if one.module in reached}
        return not tool.is_whole and kinds <= {*ORDINARY}


@dataclass
class State:
    edits: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, step: Step) -> None:
        key = step.kind, step.name
        self.edits[key] = self.edits.get(key, 0) + 1

    def of(self, kind: str, name: str) -> int:
        return self.edits.get((kind, name), 0)

    def key(self) -> str:
        return repr(sorted(self.edits.items()))


def definition_text(one: Definition, state: State) -> str:
    number = state.of("number", one.name) * 7 + len(one.name) + int(one.name[1:])
    has_doc, has_header = state.of("docstring", one.name), state.of("header", one.name) % 2
    doc = f'\n    """Text {has_doc}."""' if has_doc else ""
    text = KINDS[one.kind]
    for line in text.splitlines():
        if line.endswith("D") and line.startswith("        "):
            text = text.replace(line, line[:-1] + doc.replace("    ", "            "))
        elif line.endswith("D") and line.startswith("    "):
            text = text.replace(line, line[:-1] + doc.replace("    ", "        "))
    names = {"D\n": f"{doc}\n", "xH": "x, more=1" if has_header else "x"}
    for old, new in names.items():
        text = text.replace(old, new)
    out = ""
    for place, letter in enumerate(text):
        around = text[place - 1 : place], text[place + 1 : place + 2]
        is_alone = not any(each.isalnum() for each in around)
        if letter == "N" and not any(each.isalpha() for each in around):
            out += one.name
        elif letter == "V" and is_alone:
            out += str(number)
        elif letter in "AB" and is_alone and "_" not in around:
            out += one.a if letter == "A" else one.b
        else:
            out += letter
    return out


def module_text(module: str, history: History, state: State) -> str:
    own = [one for one in history.definitions if _module_of(one, state) == module]
    lower = [one.name for one in history.definitions if _module_of(one, state) == MODULES[0]]
    head = IMPORTS + "# comment\n" * state.of("comment", module)
    if module == MODULES[1]:
        head += "".join(f"from src.lib.low import {name}\n" for name in lower)
    parts = [definition_text(one, state) for one in own]
    new = range(state.of("new function", module))
    parts += [f"def new_{module}_{number}(x):\n    return x\n" for number in new]
    if state.of("new builtin", module) % 2:
        parts.append("def abs(x):\n    return 1000\n")
    if state.of("asked function", module) % 2:
        parts += [f"def new_{one.name}():\n    return 500\n" for one in own if one.kind == "asked"]
    return "\n\n".join([head, *parts])


def _module_of(one: Definition, state: State) -> str:
    is_moved = state.of("move", one.name) % 2 and not (one.a or one.b)
    return MODULES[0] if is_moved else one.module


def tool_text(tool: Tool, history: History, state: State) -> str:
    lines = ["from pathlib import Path", ""]
    if tool.is_whole:
        lines += ["from src.lib.low import *", "from src.lib.high import *"]
    else:
        places = {one.name: _module_of(one, state) for one in history.definitions}
        lines += [f"from src.lib.{places[name]} import {name}" for name, _ in tool.calls]
    lines += ["", 'STAGE = "work"', "", "", "def run():"]
    lines += [f'    x = int(Path("in/{tool.name}.txt").read_text())', "    total = 0"]
    for name, rest in tool.calls:
        condition = "True" if rest < 0 else f"x % 3 == {rest}"
        lines += [f"    if {condition}:", f"        total += {name}(x)"]
    lines += [f'    Path("out/{tool.name}.txt").write_text(str(total))', ""]
    return "\n".join(lines)


def user_files(history: History, state: State) -> dict[str, str]:
    files = {f"src/lib/{one}.py": module_text(one, history, state) for one in MODULES}
    for number, tool in enumerate(history.tools):
        files[f"src/{tool.name}.py"] = tool_text(tool, history, state)
        files[f"in/{tool.name}.txt"] = str(number // 2 + state.of("data", tool.name))
    return {"orch.toml": "", "out/.keep": "", **files}


def random_history(seed: int, among: Sequence[str] = ()) -> History:
    """`among` are the kinds of all definitions but the first."""
    chance = random.Random(seed)
    definitions: list[Definition] = []
    for module in MODULES:
        kinds = among or chance.choice((ORDINARY, [*KINDS]))
        for _ in range(chance.choice((3, 4, 5))):
            kind = chance.choice(kinds) if definitions else "plain"
            text, known = KINDS[kind], [one.name for one in definitions]
            a, b = (chance.choice(known) if known and letter in text else "" for letter in "AB")
            definitions.append(Definition(f"f{len(definitions)}", kind, module, a, b))
    names = [one.name for one in definitions]
    tools = tuple(
        Tool(
            f"t{number}",
            tuple(
                (name, chance.choice((-1, -1, 0, 1, 2)))
                for name in chance.sample(names, chance.choice((1, 1, 2, 3)))
            ),
            is_whole=chance.random() < 0.1,
        )
        for number in range(chance.choice((3, 4, 5)))
    )
    steps: list[Step] = []
    for _ in range(chance.choice((3, 4, 5))):
        steps += [random_step(chance, names, tools) for _ in range(chance.choice((1, 1, 2)))]
        if chance.random() < 0.2:
            steps.append(Step("run", chance.choice(tools).name))
        steps.append(Step("check", chance.choice(("", "", "--jobs=2"))))
    return History(tuple(definitions), tools, tuple(steps))


def random_step(chance: random.Random, names: list[str], tools: tuple[Tool, ...]) -> Step:
    if chance.random() < 0.15:
        return Step("data", chance.choice(tools).name)
    if chance.random() < 0.3:
        return Step(chance.choice(OF_MODULE[:4]), chance.choice(MODULES))
    return Step(chance.choice(OF_ONE), chance.choice(names))


def smaller(history: History) -> Iterator[History]:
    for place in range(len(history.steps) - 1):
        yield replace(history, steps=history.steps[:place] + history.steps[place + 1 :])
    for place in range(len(history.tools)):
        rest = history.tools[:place] + history.tools[place + 1 :]
        if rest:
            yield replace(history, tools=rest)
    for tool in history.tools:
        if len(tool.calls) > 1:
            for place in range(len(tool.calls)):
                fewer = replace(tool, calls=tool.calls[:place] + tool.calls[place + 1 :])
                tools = tuple(fewer if one is tool else one for one in history.tools)
                yield replace(history, tools=tools)
    for one in history.definitions:
        used = {name for other in history.definitions for name in (other.a, other.b)}
        used |= {name for tool in history.tools for name, _ in tool.calls}
        if one.name not in used:
            kept = tuple(other for other in history.definitions if other is not one)
            yield replace(history, definitions=kept)
