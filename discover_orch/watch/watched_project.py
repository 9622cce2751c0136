"""The project that is watched: its tools and their plan, its files, and the status of its tools, all kept up to date.

It reads the project as every command does (through `planning.project_view`), and never runs user code. What a change
means is decided by the status; here it is only found out whether the tools, their order or their arguments have to be
read again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.discovery.items import with_items
from discover_orch.discovery.registry import Registry, with_observed
from discover_orch.discovery.scanner import scanned_places
from discover_orch.execution.request import Request, use_choices
from discover_orch.model.conventions import CONF_FILE
from discover_orch.model.errors import (
    DiscoveryError,
    EmptyError,
    OrchError,
    Problem,
    ProjectError,
    UsageError,
)
from discover_orch.model.items import FilePattern, as_glob, tool_of
from discover_orch.model.tool import Tool
from discover_orch.planning import project_view
from discover_orch.planning.param_values import (
    MISSING,
    default_versions,
    param_versions,
)
from discover_orch.planning.plan import Plan, build_plan, keep_steps
from discover_orch.planning.project_view import ProjectView, select_each, select_targets
from discover_orch.staleness.current_inputs import Params
from discover_orch.staleness.import_graph import ImportGraph
from discover_orch.staleness.input_versions import meets_input
from discover_orch.staleness.live_status import Change, LiveStatus, Paths
from discover_orch.staleness.status import Turns
from discover_orch.state.journal import find_runs
from discover_orch.state.lock import LockHolder, ProjectLock
from discover_orch.state.sealed_files import read_flows
from discover_orch.watch.watched_files import WatchedFiles, config_files
from discover_orch.worker.protocol import Preload


class WatchRequest(Struct, frozen=True, kw_only=True):
    """What was asked to be watched, and of which project: as `read_project` takes it."""

    start: str
    folder: str | None
    request: Request

    def read_project(self, environ: MutableMapping[str, str]) -> ProjectView:
        """Raises ProjectError."""
        view = project_view.read_project(self.start, self.folder, environ, reads_code=True)
        if view.config_errors:
            raise ProjectError(*view.config_errors)
        return use_choices(view, self.request)


class WatchedProject:
    """`plan` is that of everything that is watched, and `targets` are its tools, in order. `problems` say why there is
    no plan of the project as it is now: then it is an earlier one. A file that cannot be read, or a tool that is gone,
    takes nothing else away."""

    def __init__(self, request: WatchRequest, environ: MutableMapping[str, str]) -> None:
        """Raises ProjectError and UsageError; later such errors are `problems`."""
        self._place, self._request, self._environ = request, request.request, environ
        self.view = request.read_project(environ)
        self.plan = Plan()
        self.problems: tuple[Problem, ...] = ()
        self._strays: tuple[Problem, ...] = ()  # about targets that do not exist now
        self._plan_again(is_first=True)
        self._preload: Preload | None = None
        self._turns: Turns | None = None  # of the run in progress
        self._has_other_items = False  # since the last change was judged
        project = self.view.project
        sources = ImportGraph(project)
        self.files = WatchedFiles(project.root, sources)
        self.files.configure(project, Paths())  # before the status reads them
        self.status = LiveStatus(
            project, self.registry, self._params_of, sources, environ, self._defaults_of
        )
        self._configure()

    # What there is.

    @property
    def registry(self) -> Registry:
        return self.view.registry

    @property
    def all_problems(self) -> tuple[Problem, ...]:
        planned, errors = self.problems, self.view.errors
        if any(one.path == CONF_FILE for one in errors):
            # A resource of the file that cannot be read looks like a parameter without a value.
            planned = tuple(one for one in planned if one.code != MISSING)
        return (*planned, *self._strays, *errors, *self.status.broken.values())

    @property
    def failing(self) -> tuple[str, ...]:
        """The watched tools that failed when they last ran."""
        freshness = self.status.freshness()
        return tuple(module for module in self.targets if freshness[module].state == "failed")

    def preload(self, named: tuple[str, ...] | None) -> Preload:
        """What a worker has to import ahead: these modules, or with None the third-party imports of the tools."""
        if self._preload is None:
            project = self.view.project
            modules = (
                self.status.code.third_party([*dict.fromkeys(map(tool_of, self.targets))])
                if named is None
                else tuple((name, ()) for name in named)
            )
            pythonpath = project.absolute_pythonpath
            self._preload = Preload(root=project.root, pythonpath=pythonpath, modules=modules)
        return self._preload

    def plan_of(self, reasons: Mapping[str, str], forced: Collection[str]) -> Plan:
        """The part of the plan with these tools, in its order. `forced` tools run though they may be fresh by then."""
        steps = keep_steps(self.plan.steps, reasons)
        self.status.note_start(step.tool.module for step in steps)
        self._turns = Turns(self.status, forced)
        return Plan(steps=steps, targets=self._request.targets, turns=self._turns)

    def set_running(self, *, is_running: bool) -> None:
        """What a run does to data counts when it has ended."""
        self.files.skips_data = self.status.is_running = is_running

    def is_code(self, path: str) -> bool:
        """Whether it is source or configuration, not data."""
        return (
            path in config_files(self.view.project)
            or path[-1:] == "/"
            or self.files.is_module(path)
        )

    # What has changed.

    def refresh(self, paths: Collection[str]) -> Change:
        """Judge these as they are now. Where they change which tools there are, or their arguments, the project is
        read again."""
        if not paths:
            return Change()
        self._preload = None
        if self._turns is not None:
            self._turns.look_at_ended()
        # A scanned folder may be back that was gone, and its files with it.
        folders = [path for path in paths if path[-1:] == "/"]
        returned = [path for one in folders for path in self.status.code.files.find_returned(one)]
        paths = [*dict.fromkeys((*paths, *returned))]
        self.files.note(paths)
        changed = self.status.look_at(paths)
        # What was wrong may be fixed by now: the configuration, or a tool that an AFTER names and that is back.
        is_wrong = bool(self.problems or self.view.errors)
        is_structural = (is_wrong and any(map(self.is_code, changed))) or any(
            map(self._is_structural, paths)
        )
        items = self._find_other_items(paths)
        is_structural = is_structural or bool(items)
        config = [path for path in paths if path in config_files(self.view.project)]
        config += items
        gone = self._read_again() if is_structural else ()
        self._configure()
        is_other = is_structural or self._has_other_items
        change = self.status.compare(paths, is_structural=is_other)
        self._has_other_items = False
        if self._turns is not None:
            self._turns.read_again()
        return replace(
            change, paths=(*change.paths, *config) if is_structural else change.paths, gone=gone
        )

    def judge_new(self) -> Change:
        """What it means that files have changed which did not count before, and that a run has made items."""
        change = self.status.compare(is_structural=self._has_other_items)
        self._has_other_items = False
        return change

    def note_installation(self) -> Change:
        """Packages were installed or removed."""
        self.status.look_at(())
        self.status.set_up(self.view.project, self.registry, self.status.code)
        return self.status.compare(is_structural=True)

    def is_output(self, path: str) -> bool:
        """Whether a tool wrote or removed the file at last, or declares it as an output."""
        tools = self.registry.tools.values()
        return self.status.is_written(path) or any(meets_input(path, one.outputs) for one in tools)

    def note_run(self, ran: Collection[str]) -> None:
        """A run of these tools has ended. Data that is as they left it is no change of the user's."""
        if self._turns is not None:
            self._turns.look_at_ended()
            self._turns = None
        left = self.status.note_ended(ran)
        self.files.note([path for path in left if not self.is_code(path)])
        root, flows = self.view.project.root, read_flows(self.view.project.root)
        registry = with_items(with_observed(self.registry, flows), root, flows)
        self._has_other_items |= registry.steps != self.registry.steps
        if (self._has_other_items or registry.flows != self.registry.flows) and not self.problems:
            self.view = replace(self.view, registry=registry)
            self._plan_again()
            self.status.set_up(self.view.project, registry, self.status.code)
        self._configure()

    def _read_again(self) -> tuple[str, ...]:
        """The whole project. Returns the names of the tools that are gone."""
        old = self.view
        try:
            self.view = self._place.read_project(self._environ)
        except OrchError as error:
            self.problems, self._strays = error.problems, ()
            return ()
        self._plan_again()
        if not self.problems:
            project, sources = self.view.project, self.status.code
            if project.pythonpath != old.project.pythonpath:
                sources = self.files.sources = ImportGraph(project)
            self.status.set_up(project, self.registry, sources)
        broken = {one.module for one in self.registry.broken}
        names = {tool.name for tool in self.registry.tools.values()}  # one may have moved
        gone = [
            tool.name
            for module, tool in old.registry.tools.items()
            if module not in self.registry.tools and module not in broken and tool.name not in names
        ]
        return tuple(sorted(gone))

    def new_warnings(self, before: ProjectView) -> tuple[Problem, ...]:
        known = set(before.warnings)
        return tuple(warning for warning in self.view.warnings if warning not in known)

    def _find_other_items(self, paths: Collection[str]) -> list[str]:
        """Those of the files that can be items, where some items have come or gone."""
        found = [path for path in paths if meets_input(path, self._item_patterns)]
        root, known = self.view.project.root, self.registry
        if found and with_items(known.by_tool, root, read_flows(root)).steps == known.steps:
            return []
        return found

    @property
    def _item_patterns(self) -> tuple[str, ...]:
        found = [tool.each for tool in self.registry.by_tool.tools.values()]
        return tuple(as_glob(one.pattern) for one in found if isinstance(one, FilePattern))

    def _is_structural(self, path: str) -> bool:
        """Whether the tools or what the command line offers may have changed, and not only code."""
        if path in (CONF_FILE, *config_files(self.view.project)) or path[-1:] == "/":
            return True
        if not self.files.is_module(path) or path in self.status.broken:
            return False
        if not self.files.exists(path):
            return True
        sources = self.view.sources
        known = sources.known(path)
        if known is None:
            folders = scanned_places(self.view.project)
            return any(not one or path.startswith(one + "/") for one in folders)
        now = sources.look_at(path)
        return sources.is_looked_up(path) or now is None or now.facts != known.facts

    def prepare(self) -> None:
        """Prepare what the next change will need, while nothing is to be done."""
        self.status.freshness()

    def _params_of(self, tool: Tool) -> Params:
        return param_versions(tool, self.registry, self.view.project, self._request.values)

    def _defaults_of(self, tool: Tool) -> Params:
        return default_versions(tool, self.view.project.root)

    # What is planned.

    def _plan_again(self, *, is_first: bool = False) -> None:
        """Plan the project as it is now. What `is_first` raises as a run would; later it is a problem."""
        view, request = self.view, self._request
        self.problems, self._strays = (), ()
        try:
            selection = select_targets(view, request.targets, request.exclude)
        except DiscoveryError:  # these files are left out
            selection = select_each(view, request.targets, request.exclude)
        except (UsageError, EmptyError) as error:
            can_be_fixed = isinstance(error, EmptyError) and view.registry.broken
            if is_first and not can_be_fixed:
                raise
            self._strays = error.problems  # the other targets remain
            selection = select_each(view, request.targets, request.exclude)
        try:
            self.plan = build_plan(selection, view.registry, view.project, request.values)
        except UsageError as error:
            if is_first:
                raise
            self.problems = error.problems
        self.targets = tuple(step.tool.module for step in self.plan.steps)

    # What is watched.

    def _configure(self) -> None:
        """Watch what counts now, and look at what did not count before: it may have changed since a tool used it."""
        paths = self.status.paths()
        if patterns := self._item_patterns:
            paths = replace(paths, globs=tuple(sorted({*paths.globs, *patterns})))
        new = self.files.configure(self.view.project, paths)
        if new:
            self.status.look_at(new, is_new=True)


class OtherRuns:
    """Runs of other commands while the project is watched."""

    def __init__(self, root: str, lock: ProjectLock) -> None:
        self._root, self._lock = root, lock
        self._known = {*find_runs(root)}

    def note_own(self, run: str) -> None:
        """A run of the watch itself started."""
        self._known.add(run)

    def find_holder(self) -> LockHolder | None:
        """Who runs tools now. Not to be asked while the watch holds the lock."""
        holder = self._lock.acquire() if self._find_new() else None
        self._lock.release()
        return holder

    def have_run(self) -> bool:
        """Whether others have run tools since the last call."""
        new = self._find_new()
        self._known |= new
        return bool(new)

    def _find_new(self) -> set[str]:
        return {*find_runs(self._root)} - self._known
