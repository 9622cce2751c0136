"""What the text of one module says: its tags, its `run()`, its imports; and the `Scan` of a whole project.

`read_module` makes these values from text, `scanner` collects them, `registry` turns them into tools. The index stores
facts as msgspec encodes them: when a field or its meaning changes, raise the number in `SourceFiles`.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from discover_orch.model.conventions import CONF_MODULE
from discover_orch.model.errors import Problem
from discover_orch.model.parameter import ParamType
from discover_orch.model.secret_masking import is_secret_value


class Tag(Struct, frozen=True, kw_only=True, array_like=True):
    """`STAGE` or `AFTER`: its words, or why it cannot be read (`problem`, one sentence).

    `is_off` is `STAGE = None`.
    """

    line: int
    words: tuple[str, ...] = ()
    is_off: bool = False
    problem: str = ""


class OrchTag(Struct, frozen=True, kw_only=True, array_like=True):
    """`ORCH = {...}`: its literal values (as in JSON, tuples as lists) and the line of each key."""

    line: int
    values: Mapping[str, object] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""


class UnknownType(Struct, frozen=True, kw_only=True, array_like=True, tag="unknown"):
    """An annotation that is not a supported type, as written."""

    text: str


class ArgumentFacts(Struct, frozen=True, kw_only=True, array_like=True):
    """One argument of `run()` or of a resource.

    `type` comes from the annotation, else from a literal default, else it is `str`. `default_source` is None where
    there is no default. `default`, `default_source` and `default_texts` are those of `Param`.
    """

    name: str
    line: int
    type: ParamType | UnknownType
    is_positional_only: bool = False
    default: object = None
    default_source: str | None = None
    help: str = ""
    default_texts: tuple[str, ...] = ()


class RunFacts(Struct, frozen=True, kw_only=True, array_like=True):
    """A top-level function, or one of another module that it is imported from.

    `is_readable` is False where its signature cannot be read, for example `run = partial(...)`. `yield_line` is 0
    where a call runs the function and does not only make a generator. `parses_line` is where it parses the command
    line itself, else 0, and `parsed` the signature whose parameters would be the same options.
    """

    line: int
    is_async: bool = False
    arguments: tuple[ArgumentFacts, ...] = ()
    takes_extra: bool = False
    is_readable: bool = True
    yield_line: int = 0
    parses_line: int = 0
    parsed: str = ""


class CheckFacts(Struct, frozen=True, kw_only=True, array_like=True):
    """A top-level `check_...` or `warn_...` of a tool. `needs` are its arguments, (name, has a default).

    `miss` says why it is no check. `repeats` is the line of an earlier definition of the same name, else 0;
    `yield_line` is that of `RunFacts`.
    """

    name: str
    line: int
    needs: tuple[tuple[str, bool], ...] = ()
    yield_line: int = 0
    repeats: int = 0
    miss: str = ""


class ModuleFacts(Struct, frozen=True, kw_only=True, array_like=True, tag="module"):
    """What discovery needs to know of a module. `miss` says why it is not a tool although it looks like one."""

    module: str
    path: str
    doc: str = ""
    stage: Tag | None = None
    after: Tag | None = None
    orch: OrchTag | None = None
    run: RunFacts | None = None
    checks: tuple[CheckFacts, ...] = ()
    miss: str = ""
    miss_line: int = 1


class ImportFact(Struct, frozen=True, array_like=True, omit_defaults=True):
    """One import, as it is written: what a relative one names, `.lib`, depends on the package that the file is in.

    `import a.b` and `importlib.import_module("a.b")`: module `a.b`; it is "" where the argument is not a literal.
    `from p import q, r`: module `p`, names (`q`, `r`); a star is the name `*`. `is_lazy`: it is in a function or a
    lambda, so importing the module does not run it.
    """

    module: str
    names: tuple[str, ...] = ()
    is_lazy: bool = False


def absolute(module: str, package: str) -> str:
    """The absolute name of a module that an import in this package names; "" where it is above the top package."""
    name = module.lstrip(".")
    level = len(module) - len(name)
    if not level:
        return module
    parts = package.split(".") if package else []
    if level > len(parts):
        return ""
    base = ".".join(parts[: len(parts) - (level - 1)])
    return f"{base}.{name}" if name else base


class ResourceFacts(Struct, frozen=True, kw_only=True, array_like=True):
    """A `@resource` function of `orchconf.py`; `needs` are its arguments, (name, has a default)."""

    name: str
    line: int
    needs: tuple[tuple[str, bool], ...] = ()


class ObserverFacts(Struct, frozen=True, kw_only=True, array_like=True):
    """Something in `orchconf.py` that is marked with `@observer`. `problem` says why it cannot be called as one."""

    name: str
    line: int
    problem: str = ""


class ConfFacts(Struct, frozen=True, kw_only=True, array_like=True, tag="conf"):
    """What `orchconf.py` offers. `connection_line` is None where it has no `get_connection`; `others` are its other
    functions, without those that begin with an underscore, each with its line."""

    path: str
    connection_line: int | None = None
    resources: tuple[ResourceFacts, ...] = ()
    observers: tuple[ObserverFacts, ...] = ()
    others: tuple[tuple[str, int], ...] = ()


class BrokenTool(Struct, frozen=True, kw_only=True, array_like=True, tag="broken"):
    """A file that would be a tool without its problems, and `orchconf.py` where it has any. `stages` are those that
    the text before the first problem states, in order; with none it may belong to any stage."""

    path: str
    module: str
    problems: tuple[Problem, ...]
    stages: tuple[str, ...] = ()

    def could_be_in(self, stage: str) -> bool:
        return not self.stages or stage in self.stages

    @property
    def concerns_all(self) -> bool:
        """`orchconf.py` is loaded before any tool."""
        return self.module == CONF_MODULE


class PassedOver(Struct, frozen=True, kw_only=True):
    """A file or folder that was not scanned or is not a tool, and why, in a few words.
    `is_check`: a function of a tool that looks like a check and is none."""

    path: str
    reason: str
    line: int | None = None
    is_check: bool = False


class Scan(Struct, frozen=True, kw_only=True):
    """What one scan of the project's tree found; nothing is judged yet.

    `modules` are sorted by path, as are the others. `problems` are those of the
    scan itself: a folder that cannot be read, a file whose name is not a module name.
    """

    modules: tuple[ModuleFacts, ...] = ()
    broken: tuple[BrokenTool, ...] = ()
    conf: ConfFacts | None = None
    problems: tuple[Problem, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()


def has_secret(facts: ModuleFacts | BrokenTool | ConfFacts | None) -> bool:
    """Whether the facts hold the default of a secret parameter."""
    return isinstance(facts, ModuleFacts) and any(
        argument.default_source not in (None, "None")
        and is_secret_value(argument.name, argument.default_source or "")
        for argument in (facts.run.arguments if facts.run else ())
    )
