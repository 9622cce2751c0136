"""The words on the command line → the tools that they mean, in the order in which they were asked for.

A `Selection` remembers which word chose which tool. Words that mean nothing are gathered into one UsageError. Pure.
"""

from __future__ import annotations

import contextlib
import fnmatch
import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch.discovery.registry import Registry
from discover_orch.model.conventions import (
    ALL_STAGES,
    GLOB_CHARACTERS,
    SQL_SUFFIX,
    TOOL_SUFFIXES,
    module_of,
)
from discover_orch.model.errors import (
    DiscoveryError,
    EmptyError,
    Problem,
    Severity,
    UsageError,
    nearest,
)
from discover_orch.model.items import describe_no_items, item_text
from discover_orch.source.facts import BrokenTool

LIST_HINT = "orch list shows all stages and tools"
#: Codes of warnings that say why a module is not a tool.
_REASONS = ("no-run", "misnamed")


class Selection(Struct, frozen=True, kw_only=True):
    """The selected tools by module, in order; `chosen_by` has the word that selected each.

    `directions` has `upstream` or `downstream` for those that only a `+` added. `targets` and `exclude` are the words,
    paths relative to the root. `warnings` are about files that cannot be read and that no word can mean.
    `items` are the texts that selected items, by parameter, or by `tool.parameter`. `empty` are selected tools that
    have no items yet.
    """

    tools: tuple[str, ...] = ()
    chosen_by: Mapping[str, str] = field(default_factory=dict)
    directions: Mapping[str, str] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = ()
    items: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    empty: tuple[str, ...] = ()


class TypedAt(Struct, frozen=True, kw_only=True):
    """Where words were typed: `root` absolute, `folder` relative to it (`""` is the root itself)."""

    root: str = ""
    folder: str = ""


def select(
    words: Sequence[str],
    registry: Registry,
    *,
    exclude: Sequence[str] = (),
    place: TypedAt | None = None,
    files: Collection[str] = (),
) -> Selection:
    """Raises UsageError for unknown or ambiguous words, DiscoveryError if a word may mean a file that cannot be read,
    and EmptyError if nothing is selected. `files` are those that were scanned; an error says which of them is meant
    and is not a tool."""
    targets = tuple(words) or (ALL_STAGES,)
    wanted = _Resolver(registry, place or TypedAt(), files)
    unwanted = _Resolver(registry, place or TypedAt(), files)
    chosen: dict[str, str] = {}
    directions: dict[str, str] = {}
    for word in targets:
        for module, direction in wanted.resolve(word).items():
            if module not in chosen:
                chosen[module], directions[module] = word, direction
    dropped = {module for word in exclude for module in unwanted.resolve(word)}
    problems = [*wanted.problems, *unwanted.problems]
    if problems:
        raise UsageError(*problems)
    blocking = _find_blocking(wanted, unwanted, registry)
    if blocking:
        raise DiscoveryError(*_problems(blocking.values()))
    tools = tuple(module for module in chosen if module not in dropped)
    left = [one for one in wanted.empty if one not in unwanted.empty]
    if not tools and left:
        raise EmptyError(*describe_empty(left, registry))
    if not tools:
        why = () if registry.tools else registry.warnings  # a file that is nearly a tool
        raise EmptyError(*why, _nothing_selected(targets, registry, excluded=bool(chosen)))
    others = [one for one in registry.broken if one.path not in blocking]
    return Selection(
        tools=tools,
        chosen_by={module: chosen[module] for module in tools},
        directions={module: directions[module] for module in tools if directions[module]},
        targets=tuple(map(wanted.from_root, targets)),
        exclude=tuple(map(wanted.from_root, exclude)),
        warnings=(
            *dict.fromkeys(wanted.notes),
            *(replace(problem, severity="warning") for problem in _problems(others)),
        ),
        empty=tuple(dict.fromkeys(left)),
    )


def describe_empty(modules: Iterable[str], registry: Registry) -> Iterator[Problem]:
    """That these tools have no items yet, and why."""
    for module in dict.fromkeys(modules):
        tool = registry.by_tool.tools[module]
        if tool.each is not None:
            why, hint = describe_no_items(tool.each)
            message = f"{tool.name} has no items yet: {why}"
            yield Problem(code="empty", message=message, hint=hint, path=tool.path, line=tool.line)


def describe_items(texts: Sequence[str], wrong: str) -> str:
    """A hint for a text that is not among these: the nearest, or the first and the last."""
    if close := nearest(wrong, texts):
        return f'did you mean "{close}"?'
    ends = texts[0] if len(texts) == 1 else f"{texts[0]} to {texts[-1]} ({len(texts):,})"
    return f"its items are {ends}"


def find_known(
    words: Sequence[str],
    registry: Registry,
    *,
    place: TypedAt | None = None,
    files: Collection[str] = (),
) -> list[str]:
    """Those of the words that mean something, if only a stage without tools or a file that cannot be read."""
    known = []
    for word in words:
        with contextlib.suppress(UsageError):
            with contextlib.suppress(DiscoveryError, EmptyError):
                select([word], registry, place=place, files=files)
            known.append(word)
    return known


def completions(registry: Registry, *, forced: bool = False) -> list[tuple[str, str]]:
    """Every word that can be a target, with what it is: stages, groups, tools. With `forced`, also the words that say
    which of them is meant: `stage:ingest` and `tool:fetch`."""
    registry = registry.by_tool
    stages = [stage.name for stage in registry.stages if stage.tools]
    tools = [(registry.tools[module].name, registry.tools[module].doc) for module in registry.order]
    words = [
        *((name, "stage") for name in stages),
        (ALL_STAGES, "all stages in order"),
        *((name, "group") for name in registry.groups),
        *tools,
    ]
    if forced:
        words += [(f"stage:{name}", "stage") for name in stages]
        words += [(f"tool:{name}", doc) for name, doc in tools]
    return words


class _Resolver:
    """Finds the tools that words mean, one method for each kind of word.

    It gathers `problems`, and the files that cannot be read: those that a word surely means (`broken`) and those
    that it may mean (`maybe_broken`).
    """

    def __init__(self, registry: Registry, place: TypedAt, files: Collection[str]) -> None:
        """Words mean tools, and `resolve` gives their steps."""
        self._registry, self._steps = registry.by_tool, registry
        self._place, self._files = place, files
        self.problems: list[Problem] = []
        self.notes: list[Problem] = []
        self.broken: list[BrokenTool] = []
        self.maybe_broken: list[BrokenTool] = []
        self.empty: list[str] = []  # tools that have no items yet

    def resolve(self, word: str) -> dict[str, str]:
        """The steps that a word means, by key, in the order that its kind asks for, each with its direction:
        `upstream`, `downstream` or ""."""
        registry = self._steps
        core, is_upstream, is_downstream = word, word.startswith("+"), word.endswith("+")
        core = core[1:] if is_upstream else core
        core = core[:-1] if is_downstream and core else core
        tool, _, item = core.partition(" ")  # `clean 2026-01-13`, as it is shown
        if not (registry.steps.keys() & registry.names.find(tool.removeprefix("tool:"))):
            tool, item = core, ""
        modules = self._resolve_core(tool, word)
        found = every = registry.steps_of(modules)
        self.empty += [one for one in modules if registry.steps.get(one) == ()]
        if item:
            found = tuple(key for key in found if item_text(key) == item)
            if not found and not self.problems and not self.empty:
                hint = describe_items([*map(item_text, every)], item)
                self.problems.append(_unknown_target(f'{tool} has no item "{item}"', hint))
        directions = dict.fromkeys(found, "")
        if not (is_upstream or is_downstream):
            return directions
        # A broken file may be upstream of any tool in its stage or a later one, and downstream likewise.
        ranks = [registry.rank[module] for module in found]
        for one in registry.broken:
            rank = _rank(one, registry)
            if (
                rank is None
                or not ranks
                or (is_upstream and rank <= max(ranks))
                or (is_downstream and rank >= min(ranks))
            ):
                self.maybe_broken.append(one)
        if is_upstream:
            directions = dict.fromkeys(registry.upstream(found), "upstream") | directions
        if is_downstream:
            directions = dict.fromkeys(registry.downstream(found), "downstream") | directions
        return {module: directions[module] for module in registry.order if module in directions}

    def _resolve_core(self, core: str, word: str) -> tuple[str, ...]:
        """What kind of word it is; `word` is the same with its `+`."""
        registry = self._registry
        if core == ALL_STAGES:
            self.broken += registry.broken
            return registry.order
        kind, _, rest = core.partition(":")
        if kind == "stage" and rest:
            return self._resolve_stage(rest)
        if kind == "tool" and rest:
            return self._resolve_tool(rest, word)
        stage = registry.stage(core)
        if stage is not None and (stage.tools or not registry.names.find(core)):
            self._note_tool(core, stage.tools)
            return self._resolve_stage(core)
        if core in registry.groups:
            found = self._resolve_group(core)
            self._note_tool(core, found, "group")
            return found
        if GLOB_CHARACTERS & set(core) and "/" not in core:
            return self._resolve_glob(core)
        if any(core in one.stages for one in registry.broken):
            return self._resolve_stage(core)
        return self._resolve_tool(core, word)

    def _note_tool(self, word: str, chosen: tuple[str, ...], kind: str = "stage") -> None:
        """Says that this word, which means a stage or a group, is the name of a tool too."""
        found = self._registry.names.find(word)
        if not found or found == chosen:
            return
        if set(found) <= set(chosen):
            severity: Severity = "note"
            message = f'"{word}" is a {kind} of {len(chosen)} tools here, not the tool {word} alone'
        else:
            severity = "warning"
            message = f'"{word}" is a {kind} here, and the tool {word} is not in it'
        hint = f"write tool:{word} for the tool"
        if kind == "stage":
            hint += f", or stage:{word} to say so"
        self.notes.append(
            Problem(code=f"{kind}-or-tool", message=message, hint=hint, severity=severity)
        )

    def _resolve_stage(self, name: str) -> tuple[str, ...]:
        broken = [one for one in self._registry.broken if one.could_be_in(name)]
        stage = self._registry.stage(name)
        if stage is None and not any(name in one.stages for one in broken):
            names = [one.name for one in self._registry.stages]
            self.problems.append(_unknown(f'unknown stage "{name}"', name, names))
            return ()
        self.broken += [one for one in broken if one.stages]
        self.maybe_broken += [one for one in broken if not one.stages]
        return stage.tools if stage else ()

    def _resolve_group(self, name: str) -> tuple[str, ...]:
        # Paths in the configuration are relative to the root.
        members = _Resolver(self._registry.by_tool, TypedAt(root=self._place.root), self._files)
        found: dict[str, None] = {}
        for item in self._registry.groups[name]:
            found |= dict.fromkeys(members.resolve(item))
        self.problems += [
            replace(one, message=f'{one.message} (in group "{name}")') for one in members.problems
        ]
        self.broken += members.broken
        self.maybe_broken += members.maybe_broken
        return tuple(found)

    def _resolve_glob(self, pattern: str) -> tuple[str, ...]:
        """Matches module paths and their dotted suffixes, never stages; `*` also matches dots."""
        found = [module for module in self._registry.order if _matches(pattern, module)]
        broken = [one for one in self._registry.broken if _matches(pattern, one.module)]
        self.broken += broken
        if not found and not broken:
            self.problems.append(_unknown(f'no tool matches "{pattern}"', pattern, ()))
        return tuple(found)

    def _resolve_tool(self, name: str, word: str) -> tuple[str, ...]:
        """A file, or a name: the module path or a suffix of it."""
        registry = self._registry
        path = self._find_path(name)
        at_path = [module for module, tool in registry.tools.items() if tool.path == path]
        if at_path:
            return tuple(at_path)
        found = registry.names.find(name)
        if len(found) == 1 and found[0] in registry.tools:
            return found
        if len(found) > 1:
            names = ", ".join(registry.display(module) for module in found)
            problem = Problem(
                code="ambiguous",
                message=f'"{name}" matches several tools',
                hint=f"use one of {names}",
            )
            self.problems.append(problem)
            return ()
        broken = [
            one
            for one in registry.broken
            if one.path == path or one.module in found or _is_suffix(name, one.module)
        ]
        self.broken += broken
        if not broken:
            self.problems.append(
                _find_disabled(registry, name, path)
                or (
                    _unknown_name(word, registry, self._files)
                    if path is None
                    else _unknown_path(word, path, self._place.folder, registry, self._files)
                )
            )
        return ()

    def from_root(self, word: str) -> str:
        """The word, which may have been typed elsewhere, as it is typed at the root."""
        core = word.removeprefix("+").removesuffix("+")
        is_glob = GLOB_CHARACTERS & set(core) and "/" not in core
        path = None if is_glob else self._find_path(core)
        return word if path is None else word.replace(core, path)

    def _find_path(self, word: str) -> str | None:
        """The path relative to the root if the word is a path, else None."""
        if "/" not in word and not word.endswith(TOOL_SUFFIXES):
            return None
        if word.startswith("/"):
            return posixpath.relpath(word, self._place.root) if self._place.root else word
        return posixpath.normpath(posixpath.join(self._place.folder, word))


def _matches(pattern: str, module: str) -> bool:
    parts = module.split(".")
    return any(fnmatch.fnmatchcase(".".join(parts[start:]), pattern) for start in range(len(parts)))


def _rank(one: BrokenTool, registry: Registry) -> int | None:
    """The position of its first stage, or None if that is unknown."""
    names = [stage.name for stage in registry.stages]
    if not one.stages or not set(one.stages) <= set(names):
        return None
    return min(names.index(name) for name in one.stages)


def _find_blocking(
    wanted: _Resolver, unwanted: _Resolver, registry: Registry
) -> dict[str, BrokenTool]:
    """By path: the files that cannot be read and may be meant, unless they were excluded."""
    concern_all = [one for one in registry.broken if one.concerns_all]
    excluded = {one.path for one in unwanted.broken if not one.concerns_all}
    met = (*wanted.broken, *wanted.maybe_broken, *concern_all)
    return {one.path: one for one in met if one.path not in excluded}


def _problems(files: Iterable[BrokenTool]) -> Iterable[Problem]:
    """Each once: a cycle is a problem of every tool in it."""
    return dict.fromkeys(problem for one in files for problem in one.problems)


def _nothing_selected(targets: tuple[str, ...], registry: Registry, *, excluded: bool) -> Problem:
    if excluded:
        return Problem(
            code="empty", message="no tools left to run", hint="--exclude removed all of them"
        )
    if not registry.tools:
        return registry.no_tools
    return Problem(
        code="empty",
        message=f"no tools in {', '.join(targets)}",
        hint=LIST_HINT,
    )


# Why a word selects nothing, and what was probably meant.


def _find_disabled(registry: Registry, name: str, path: str | None) -> Problem | None:
    for tool in registry.disabled:
        if tool.path == path or tool.name == name or _is_suffix(name, tool.module):
            return Problem(
                code="disabled",
                message=f'"{tool.name}" is disabled',
                hint="its module sets STAGE = None",
                path=tool.path,
                line=tool.line,
            )
    return None


def _unknown_path(
    word: str, path: str, folder: str, registry: Registry, files: Collection[str]
) -> Problem:
    """`path` is that of the word relative to the root, `folder` where it was typed, and `files` are those that were
    scanned."""
    if path in files or any(one.path == path for one in registry.passed_over):
        return _find_reason(path, registry)
    inside = [tool for tool in registry.tools.values() if tool.path.startswith(path + "/")]
    if inside:
        depth = inside[0].path.removeprefix(path).count("/")
        return _package(word, ".".join(inside[0].module.split(".")[:-depth]))
    paths = [tool.path for tool in registry.tools.values()]
    same = [one for one in paths if posixpath.basename(one) == posixpath.basename(path)]
    shown = [posixpath.relpath(one, folder or ".") for one in same or paths]
    return _unknown(f'"{word}" is not the file of a tool', shown[0] if same else word, shown)


def _unknown_name(word: str, registry: Registry, files: Collection[str]) -> Problem:
    """`word` is as it was typed, with its `+` and `tool:`."""
    core = word.removeprefix("+").removesuffix("+").removeprefix("tool:")
    message = f'unknown target "{word}"'
    if "=" in core:
        return _unknown_target(message, f"set a parameter with: -p {core}")
    known = {tool.path for tool in registry.tools.values()}
    for path in files:
        if path not in known and _is_suffix(core, module_of(path)):
            return _find_reason(path, registry)
    if any(f".{core}." in f".{module}" for module in registry.tools) and core.isidentifier():
        return _package(word, core)
    names = [*(one.name for one in registry.stages), *registry.groups, ALL_STAGES]
    return _unknown(message, word, [*names, *registry.names.words])


def _unknown(message: str, word: str, candidates: Iterable[str]) -> Problem:
    plain = word.strip("+").removeprefix("stage:").removeprefix("tool:")
    close = nearest(plain, candidates)
    return _unknown_target(
        message, f'did you mean "{close}"? ({LIST_HINT})' if close else LIST_HINT
    )


def _is_suffix(name: str, module: str) -> bool:
    return f".{module}".endswith(f".{name}")


def _find_reason(path: str, registry: Registry) -> Problem:
    """Why a module that was scanned is not a tool, though it is neither broken nor disabled."""
    for warning in registry.warnings:
        place = warning.location
        if place is not None and place.path == path and warning.code in _REASONS:
            reason = warning.message.removesuffix(": it is not a tool")
            return _not_a_tool(path, place.line, reason, warning.hint)
    for one in registry.passed_over:
        if one.path == path:
            return _not_a_tool(path, one.line, one.reason)
    hint = 'a tool has a top-level STAGE = "..." and a run() function'
    if path.endswith(SQL_SUFFIX):
        hint = "a tool has -- STAGE: NAME before its first statement"
    return _not_a_tool(path, None, "it has no STAGE", hint)


def _not_a_tool(path: str, line: int | None, reason: str, hint: str = "") -> Problem:
    return Problem(
        code="not-a-tool",
        message=f"not a tool: {reason}",
        hint=hint,
        path=path,
        line=line,
    )


def _package(word: str, package: str) -> Problem:
    hint = f'to select all tools below it, use "{package}.*"'
    return _unknown_target(f'"{word}" is a folder, not a tool', hint)


def _unknown_target(message: str, hint: str) -> Problem:
    return Problem(code="unknown-target", message=message, hint=hint)
