"""The project as tests see it: its tools in order, and `run_targets`, which runs some of them in this process.

Arguments are found as `orch run` finds them. Errors of orch are `OrchError`s; what a tool raises passes through.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from msgspec.structs import replace

from discover_orch.config.file import find_root
from discover_orch.discovery.registry import uses_get_connection
from discover_orch.model.checks import checks_text
from discover_orch.model.conventions import SQL_SUFFIX, TOOL_SUFFIXES
from discover_orch.model.errors import Location, Problem, ProjectError, UsageError, did_you_mean
from discover_orch.model.tool import Tool
from discover_orch.planning.param_values import MISSING, GivenParams
from discover_orch.planning.plan import Plan, Step
from discover_orch.planning.project_view import (
    ProjectView,
    check_project,
    plan_targets,
    read_project,
)
from discover_orch.testing.resources import OpenResources, load_conf
from discover_orch.worker.protocol import WireArgument, build_defaults
from discover_orch.worker.resources import CONN
from discover_orch.worker.tool_call import (
    RealSignature,
    convert_arguments,
    find_positional_only,
    refuse_generator,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from discover_orch.testing.resources import DatabaseOfTest
    from discover_orch.worker.sql_tool import SqlTool


@functools.cache
def _project_at(folder: Path) -> OrchProject:
    return OrchProject(folder)


def find_project(folder: Path, default: Path) -> OrchProject:
    """The project around `folder`, or the one at `default` where that has no configuration. One for all tests."""
    root, config, _ = find_root(os.fspath(folder))
    return _project_at(Path(root) if config else default)


class OrchProject:
    """A project that was found from a folder. Its tools are read from their source; nothing is loaded yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._view: ProjectView | None = None

    @property
    def view(self) -> ProjectView:
        """Read when it is first needed. Raises ProjectError."""
        if self._view is None:
            view = read_project(os.fspath(self._folder), None, os.environ)
            # A test gives the value of an item itself.
            self._view = replace(view, registry=view.registry.by_tool)
        return self._view

    @property
    def root(self) -> Path:
        return Path(self.view.project.root)

    @property
    def tools(self) -> tuple[str, ...]:
        """The names of all tools, in the order of a full run."""
        registry = self.view.registry
        return tuple(registry.display(module) for module in registry.order)

    @property
    def stages(self) -> dict[str, tuple[str, ...]]:
        """The names of the tools of each stage, in order."""
        registry = self.view.registry
        return {
            stage.name: tuple(registry.display(module) for module in stage.tools)
            for stage in registry.stages
        }

    @property
    def database(self) -> tuple[str, str, Callable[[], Any] | None]:
        """The URL, the root, and `get_connection()` of `orchconf.py` where that gives the connection."""
        project, root = self.view.project, self.root
        get_connection = None
        if uses_get_connection(self.view.registry, project):
            with _importable(project.pythonpath, root):
                get_connection = load_conf(root).get_connection
        return project.database, os.fspath(root), get_connection

    def select(self, *targets: str) -> tuple[str, ...]:
        """The names of the tools that `orch run TARGETS` would run, in order."""
        return tuple(step.tool.name for step in self._plan(targets, {}).steps)

    def find_problems(self) -> tuple[Problem, ...]:
        """What `orch check` exits with 4 for: errors, and warnings where the configuration has `strict = true`."""
        try:
            view = self.view
        except ProjectError as error:
            return error.problems
        return (*view.errors, *(check_project(view) if view.project.strict else ()))

    def run_targets(
        self, targets: Sequence[str], given: Mapping[str, Any], resources: OpenResources
    ) -> Any:
        """Runs the tools that `targets` select. Of one tool that is named alone gives what its `run()` returned,
        otherwise a dict of these values by name.

        `given` are arguments of `run()`: a text is converted as on the command line, any other value is passed as it
        is. Each tool is a transaction, which is rolled back where it raises.
        """
        plan = self._plan(targets, given)
        self._refuse_arguments(plan, given)
        returned: dict[str, Any] = {}
        with _importable(self.view.project.pythonpath, self.root):
            for step in plan.steps:
                returned[step.tool.name] = _run_step(step, given, resources, self.root)
        if len(targets) == 1 and self._is_name_of_tool(targets[0]):
            return returned[plan.steps[0].tool.name]
        return returned

    def _plan(self, targets: Sequence[str], given: Mapping[str, Any]) -> Plan:
        texts = {name: (value,) for name, value in given.items() if isinstance(value, str)}
        values = GivenParams(options=texts, folder=os.fspath(self.root), is_python=True)
        return plan_targets(self.view, targets, values=values, is_partial=True)

    def _is_name_of_tool(self, word: str) -> bool:
        """Whether `word` means one tool, and is no stage, group or pattern."""
        registry = self.view.registry
        if registry.stage(word) is not None or word in registry.groups:
            return False
        return bool(registry.names.find(word.removeprefix("tool:"))) or word.endswith(TOOL_SUFFIXES)

    def _refuse_arguments(self, plan: Plan, given: Mapping[str, Any]) -> None:
        """Raises UsageError for an argument that none of the tools takes, and for one that is missing."""
        tools = [step.tool for step in plan.steps]
        problems = []
        for name in given:
            if any(_takes(tool, name) for tool in tools):
                continue
            known = {param.name for tool in tools for param in tool.params}
            otherwise = f"they take: {', '.join(sorted(known)) or 'nothing'}"
            hint = did_you_mean(name, known, otherwise)
            message = f'none of these tools takes the argument "{name}": {", ".join(tool.name for tool in tools)}'
            problems.append(Problem(code="unknown-parameter", message=message, hint=hint))
        for step in plan.steps:
            bound = {one.param.name for one in step.arguments}
            for param in step.tool.params:
                if param.required and param.name not in bound and param.name not in given:
                    message = (
                        f'{step.tool.name} requires the argument "{param.name}" ({param.type})'
                    )
                    hint = f"give it: orch_run(..., {param.name}=VALUE)"
                    place = Location(path=step.tool.path, line=step.tool.line)
                    problems.append(Problem(code=MISSING, message=message, hint=hint).at(place))
        if problems:
            raise UsageError(*problems)


def _takes(tool: Tool, name: str) -> bool:
    return (
        tool.param(name) is not None
        or name in tool.resources
        or name in tool.never_passed
        or tool.takes_extra
        or not tool.is_readable
    )


@contextlib.contextmanager
def _importable(pythonpath: Sequence[str], root: Path) -> Iterator[None]:
    """The folders of `pythonpath` are first on `sys.path`, as in a run."""
    folders = [os.path.normpath(root / folder) for folder in pythonpath]
    before = sys.path.copy()
    sys.path[:0] = folders
    try:
        yield
    finally:
        sys.path[:] = before


def _run_step(step: Step, given: Mapping[str, Any], resources: OpenResources, root: Path) -> Any:
    tool = step.tool
    module = _load(tool, root)
    run = module.run
    asked: Iterable[str] = tool.resources
    if not tool.is_readable:
        own_names = RealSignature(run).select_resources(tool.resources)
        asked = {*own_names, *(name for one in tool.checks for name in one.arguments)}
        asked &= {*tool.resources}
    named: dict[str, Any] = convert_arguments(
        build_defaults(tool)
        | {
            one.param.name: WireArgument(type=one.param.type, texts=one.effective)
            for one in step.arguments
        }
    )
    for name, value in given.items():
        is_bound = isinstance(value, str) and tool.param(name) is not None
        if not is_bound and _takes(tool, name):
            named[name] = value
    named |= resources.open(name for name in asked if name not in named)
    own = {name: one for name, one in named.items() if name not in tool.check_resources}
    first = [own.pop(name) for name in find_positional_only(run) if name in own]
    is_managed = CONN in asked and CONN not in given and not tool.commits_by_itself
    with resources.transaction() if is_managed else contextlib.nullcontext() as database:
        returned = resources.call(run, *first, **own)
        refuse_generator(returned)
        if tool.checks:
            _run_checks(tool, module, {"result": returned, **named}, resources, database, root)
    return returned


def _run_checks(
    tool: Tool,
    module: ModuleType | SqlTool,
    given: Mapping[str, object],
    resources: OpenResources,
    database: DatabaseOfTest | None,
    root: Path,
) -> None:
    """Raises ChecksFailed, which rolls the tool back. What only warns is a warning of Python."""
    from discover_orch.worker.checks import CheckRunner, complete_arguments

    runner = CheckRunner(
        tool.path,
        os.fspath(root),
        resources.call,
        lambda error: isinstance(error, KeyboardInterrupt),
        database,
        tool.resources,
    )
    arguments = complete_arguments(tool.checks, module.run, given)
    results, failed = runner.run(tool.checks, module, arguments)
    warned = [one for one in results if one.status == "warned"]
    if warned:
        warnings.warn(checks_text(warned), stacklevel=2)
    if failed is not None:
        raise failed


def _load(tool: Tool, root: Path) -> ModuleType | SqlTool:
    if tool.path.endswith(SQL_SUFFIX):
        from discover_orch.worker.sql_tool import load_sql

        return load_sql(os.fspath(root), tool.path, tool.outputs)
    module = importlib.import_module(tool.module)
    _refuse_other_file(module, tool, root)
    return module


def _refuse_other_file(module: ModuleType, tool: Tool, root: Path) -> None:
    """A module of the same name may be loaded already, from elsewhere."""
    found = getattr(module, "__file__", None)
    if found is None or not os.path.samefile(found, root / tool.path):
        raise UsageError.of(
            "other-module",
            f"Python finds the module {tool.module} in {found}, not in {tool.path}",
            "rename one of them, or run their tests separately",
        )
