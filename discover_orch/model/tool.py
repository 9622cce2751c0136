"""What a tool is: where it is, when it runs, what its `run()` takes, and which words name it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch.model.checks import Check
from discover_orch.model.conventions import SQL_SUFFIX
from discover_orch.model.items import NO_ITEM, Each, Item, tool_of
from discover_orch.model.parameter import Param


class OldPlace(Struct, frozen=True, kw_only=True):
    """What a tool that was moved or renamed was called when it ran: its module and the path of its file."""

    module: str
    path: str


class ToolSettings(Struct, frozen=True, kw_only=True):
    """What the tag `ORCH` of a tool says beside its name, with defaults. Times are in seconds.

    - `has_inputs`, `has_outputs`: `ORCH` has the key; an empty list: there are none but those that orch sees.
    - `replaces`: the files that the tool makes anew as a whole; those that it did not make this time are deleted.
    - `max_age`: after this time a success is stale. `is_repeatable`: running the tool again on its own result changes
      nothing. `commits_by_itself`: orch neither commits nor rolls back. `is_traced`: the kernel is asked which files
      it uses. `has_own_worker`: it runs in a process in which no other tool runs.
    - `retries`: how often it is tried again after a failure, the first time after about `retry_delay`.
    - `timeout`: after this time it is stopped and has failed. `tokens`: those that it holds while it runs.
    - `each`: the tool runs once for each of these items; `is_in_order`: each item after the one before. `column`: in
      tables that have it, an item reads and writes the rows with its value alone.
    """

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    has_inputs: bool = False
    has_outputs: bool = False
    is_cancellable: bool = True
    is_always_stale: bool = False
    is_repeatable: bool = False
    max_age: float | None = None
    retries: int = 0
    retry_delay: float = 1.0
    timeout: float | None = None
    tokens: Mapping[str, int] = field(default_factory=dict)
    commits_by_itself: bool = False
    is_traced: bool = True
    has_own_worker: bool = False
    each: Each | None = None
    is_in_order: bool = False
    column: str = ""


class Tool(ToolSettings, frozen=True, kw_only=True):
    """A module with `STAGE` and `run()`.

    - `module`: the dotted module path, its identity; of the step of an `item`, with that, as of `key_of`. `name`: the
      shortest suffix of it that is unambiguous, or the name in `ORCH`, likewise.
    - `after`: the modules that the tag `AFTER` names; `has_after` is True for an empty tag too.
    - `resources`: what is injected into `run()` and its checks, `conn` among it; `check_resources`: those of them that
      only checks take. `never_passed`: arguments with a default and a type that no option can have.
    - `is_readable` is False where the signature cannot be read from the source: then `params` is empty, and
      `resources` are all that it may ask for.
    """

    module: str
    path: str
    line: int
    name: str
    stages: tuple[str, ...]
    doc: str = ""
    after: tuple[str, ...] = ()
    has_after: bool = False
    disabled: bool = False
    params: tuple[Param, ...] = ()
    resources: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    check_resources: tuple[str, ...] = ()
    never_passed: tuple[str, ...] = ()
    takes_extra: bool = False
    is_readable: bool = True
    item: Item = NO_ITEM

    @property
    def source_module(self) -> str:
        """The module that is loaded."""
        return tool_of(self.module)

    @property
    def place(self) -> str:
        """The path of its file, behind a space the item: what a step is, wherever its module is found."""
        return f"{self.path}{self.module[len(self.source_module) :]}"

    @property
    def value_of_column(self) -> str:
        """What the rows of its item have in the `column`: the value of the parameter of this name, or of the only one
        of items; "" for a tool without."""
        names = self.item.values
        if not (self.column and names):
            return ""
        return self.item.given_for(self.column if self.column in names else next(iter(names)))

    def without_checks(self) -> Tool:
        own = tuple(name for name in self.resources if name not in self.check_resources)
        return replace(self, checks=(), check_resources=(), resources=own)

    def param(self, name: str) -> Param | None:
        return next((param for param in self.params if param.name == name), None)


def after_hint(tool: Tool, names: list[str]) -> str:
    """What to write so that the tool runs after these."""
    if tool.path.endswith(SQL_SUFFIX):
        where = f"AFTER: in {tool.path}" if tool.has_after else tool.path
        return f"add {'' if tool.has_after else '-- AFTER: '}{', '.join(names)} to {where}"
    quoted = ", ".join(f'"{name}"' for name in names)
    if tool.has_after:
        return f"add {quoted} to AFTER in {tool.path}"
    value = quoted if len(names) == 1 else f"({quoted})"
    return f"add AFTER = {value} to {tool.path}"


# A tool is identified by its dotted module name. Any suffix of it after a dot names the tool, and so does `name` in
# `ORCH`. Built once for a registry: 10,000 tools have some 40,000 words.


class ToolNames(Struct, frozen=True, kw_only=True):
    """`words`: the modules that each word could mean; `display`: the name that is shown for each module."""

    words: Mapping[str, tuple[str, ...]]
    display: Mapping[str, str]

    def find(self, word: str) -> tuple[str, ...]:
        """The modules that `word` could mean: none, one, or several where it is ambiguous."""
        if word in self.display:
            return (word,)
        return self.words.get(word, ())


def build_names(own: Iterable[tuple[str, str | None]]) -> ToolNames:
    """Built from (module, name in `ORCH` or None) of each tool."""
    tools = [(module, _words(module, name)) for module, name in own]
    words: dict[str, list[str]] = {}
    for module, spelled in tools:
        for word in spelled:
            words.setdefault(word, []).append(module)
    display = {}
    for module, spelled in tools:
        display[module] = next((word for word in spelled if len(words[word]) == 1), module)
    return ToolNames(words={word: tuple(found) for word, found in words.items()}, display=display)


def _words(module: str, name: str | None) -> list[str]:
    """The words of a tool: its name in `ORCH` first, then the suffixes of its module, the shortest first."""
    parts = module.split(".")
    suffixes = [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]
    return suffixes if name is None or name in suffixes else [name, *suffixes]
