"""What a watch knows of the project: its tools, their plan, and what a change of files means for them.

It reads the project as every command does (through `planning.project_view`) and never runs user code. What each tool
depends on is the subject of `watch_set`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch import __version__
from discover_orch.config.project import Project, masked_url
from discover_orch.discovery.facts_index import KnownFacts, read_known_facts
from discover_orch.discovery.registry import Registry, uses_get_connection, with_observed
from discover_orch.discovery.scanner import PythonPath, scanned_folders
from discover_orch.model.conventions import CONF_FILE
from discover_orch.model.errors import OrchError, Problem
from discover_orch.planning.plan import Plan
from discover_orch.planning.project_view import ProjectView
from discover_orch.staleness.affected import expand
from discover_orch.staleness.current import GET_CONNECTION
from discover_orch.staleness.file_hashes import find_data
from discover_orch.staleness.memory import Memory
from discover_orch.state.flows import read_flows
from discover_orch.state.store import flows_stamp, open_index
from discover_orch.watch.observed_inputs import ObservedInputs
from discover_orch.watch.request import WatchPlan, WatchRequest, find_differences
from discover_orch.watch.snapshot import Snapshot
from discover_orch.watch.watch_events import Scope
from discover_orch.watch.watch_set import CONFIG_FILES, WatchSet


class ChangeImpact(Struct, frozen=True, kw_only=True):
    """What the differences between the files and the accepted snapshot mean.

    `found` are the affected watched tools, each with its reason, and `by` the path that affected it, where it was a
    path; `held` are the names of those that wait for a file to be fixed. `is_structural`: the tools, their order
    or their arguments may have changed.
    """

    paths: tuple[str, ...] = ()
    found: Mapping[str, str] = field(default_factory=dict)
    by: Mapping[str, str] = field(default_factory=dict)
    held: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    is_structural: bool = False


class WatchedProject:
    """Making it raises ProjectError and UsageError; later such errors are problems of a `ChangeImpact`."""

    def __init__(self, request: WatchRequest, environ: Mapping[str, str]) -> None:
        self._request, self._environ = request, environ
        self._waiting: dict[str, str] = {}  # affected, but waiting for a file to be fixed
        self._structure = ToolStructure()
        self._is_config_broken = False
        self._stamp = ""  # of the stored data flow
        self._has_unstored = False  # observed data flow could not be stored
        view = self._read_project()
        self.observed_inputs = ObservedInputs(view.project.root)
        self.view = self._with_stored_flows(view)
        self._planned = request.plan(self.view)
        self.watch_set = WatchSet(self.view.project, self.registry, self.plan, self.observed_inputs)

    # What there is.

    @property
    def registry(self) -> Registry:
        return self.view.registry

    @property
    def plan(self) -> Plan:
        """The plan of everything that is watched."""
        return self._planned.plan

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why there is no plan."""
        return self._planned.problems

    @property
    def snapshot(self) -> Snapshot:
        return self.watch_set.snapshot

    @property
    def targets(self) -> tuple[str, ...]:
        """The watched tools, in the order in which they run."""
        return tuple(step.tool.module for step in self.plan.steps)

    def preload(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The third-party imports of the watched tools: (module, names of its `from`)."""
        return self.watch_set.sources.third_party(self.targets)

    def expand(self, found: Collection[str], scope: Scope) -> tuple[str, ...]:
        return expand(found, self.registry, scope, self.targets)

    def plan_of(self, reasons: Mapping[str, str]) -> Plan:
        """The part of the plan with these tools, in its order."""
        steps = tuple(
            replace(
                step,
                reason=reasons[step.tool.module],
                after=tuple(one for one in step.after if one in reasons),
            )
            for step in self.plan.steps
            if step.tool.module in reasons
        )
        return Plan(steps=steps, targets=self._request.words)

    def apply_observed(self, wrote: Collection[str] = ()) -> None:
        """Use what tools were seen to do in a run that has ended: for their order, and for the files to watch.

        A file that changed after they read it counts as changed, unless the run itself `wrote` it."""
        observed_inputs = self.observed_inputs
        is_stored = flows_stamp(self.view.project.root) != self._stamp
        if not observed_inputs.has_new and not is_stored:
            return
        self._has_unstored = observed_inputs.has_new and not is_stored
        old, self.view = self.registry, self._with_stored_flows(self.view)
        observed_inputs.has_new = False
        registry = with_observed(old, observed_inputs.flows)
        self.view = replace(self.view, registry=registry)
        if (registry.order, registry.flow) != (old.order, old.flow) and not self._is_config_broken:
            self._planned = self._request.plan(self.view, self.plan)
        new = self.watch_set.apply_observed(self.registry, self.plan, self.snapshot.broken)
        for path in observed_inputs.find_changed_since(new - set(wrote)) if new else ():
            self.snapshot.mark_changed(path)

    def find_consumed(self, paths: Collection[str]) -> set[str]:
        """Those of these data files whose current content every dependent tool read in the latest run."""
        tools = [step.tool for step in self.plan.steps]
        return self.observed_inputs.find_consumed(paths, self.snapshot.differing_names(), tools)

    def _with_stored_flows(self, view: ProjectView) -> ProjectView:
        """Read the stored data flow again; the view includes it already, except for what could not be stored."""
        project = view.project
        stamp, flows = flows_stamp(project.root), {}
        if stamp != self._stamp:
            self._stamp, flows = stamp, read_flows(project.root)
        is_own = uses_get_connection(view.registry, project)
        name = GET_CONNECTION if is_own else masked_url(project.database)
        known = Memory(project.root).databases().get(name)
        self.observed_inputs.load(flows, known.path if known else "")
        if not self._has_unstored:
            return view
        return replace(view, registry=with_observed(view.registry, self.observed_inputs.flows))

    # What has changed.

    def consider(self, *, only_code: bool = False) -> ChangeImpact:
        """What differs from the accepted snapshot, and accept it; with `only_code` data files are left for later."""
        differing = self.snapshot.differing()
        broken = {path: one for path, one in differing.items() if one is not None}
        whole = [path for path in differing if path not in broken]
        if only_code:
            whole = [path for path in whole if self.watch_set.is_code(path)]
        if not whole and not broken and not self._is_config_broken:
            return self._without_waiting(ChangeImpact(problems=self.problems))
        structural = [path for path in whole if self._is_structural(path)]
        was_broken = self._is_config_broken
        before, old, old_plan = self.watch_set.reaches, self.view, self.plan
        # What was wrong may be fixed by now: the configuration, or a tool that an AFTER names and that is back.
        is_new = bool(structural) or was_broken or bool(old.errors)
        if is_new:
            try:
                self.view = self._with_stored_flows(self._read_project())
                self._planned = self._request.plan(self.view, old_plan)
            except OrchError as error:
                self.view, self._is_config_broken = old, True
                self._planned = WatchPlan(plan=old_plan, problems=error.problems)
                return ChangeImpact(problems=error.problems, is_structural=True)
            self._is_config_broken = False
        self.watch_set.update(
            self.view.project, self.registry, self.plan, keep=broken, is_new=is_new
        )
        tools = self.registry.tools
        watched = set(self.targets)
        by = self.watch_set.find_affected(whole, before, watched)
        found = {module: f"{path} {self._verb(path)}" for module, path in by.items()}
        if is_new:
            found |= find_differences(old, self.view, old_plan, self.plan)
        found = {module: why for module, why in found.items() if module in watched}
        self.snapshot.accept(whole)
        broken_modules = {one.module for one in self.registry.broken}
        gone = [
            old.registry.tools[module].name
            for module in old.registry.tools.keys() - tools.keys()
            if old.registry.tools[module].path in whole and module not in broken_modules
        ]
        return self._without_waiting(
            ChangeImpact(
                paths=tuple(whole),
                found=found,
                by=by,
                gone=tuple(sorted(gone)),
                problems=(
                    *broken.values(),
                    *(self.problems if is_new else ()),
                    *self._planned.strays,
                    *self.view.errors,
                ),
                warnings=_new_warnings(old, self.view) if structural else (),
                is_structural=bool(structural),
            )
        )

    def _without_waiting(self, impact: ChangeImpact) -> ChangeImpact:
        """Without the tools that must wait, and with those that need not wait any longer."""
        broken, blocked = self.snapshot.broken, self.blocked
        found = self._waiting | dict(impact.found)
        watched = set(self.targets)
        held = {
            module: reason
            for module, reason in found.items()
            if self.problems  # no plan can be made at all
            or module not in watched
            or self.watch_set.depends_on(module, broken)
            or (module in blocked and module not in impact.found)
        }
        self._waiting = {
            module: reason for module, reason in held.items() if module in self.watch_set.reaches
        }
        return replace(
            impact,
            found={module: reason for module, reason in found.items() if module not in held},
            held=tuple(self.registry.display(module) for module in held if module in impact.found),
        )

    @property
    def blocked(self) -> frozenset[str]:
        """The tools downstream of held ones: they run with those, unless they have changed themselves."""
        held = [module for module in self.targets if self.is_held(module)]
        return self.registry.downstream(held) - set(held) if held else frozenset()

    @property
    def waiting(self) -> tuple[str, ...]:
        """The names of the watched tools that wait for a file to be fixed."""
        wait = {module for module in self.targets if self.is_held(module)} | self._waiting.keys()
        return tuple(self.registry.display(module) for module in self.targets if module in wait)

    def is_held(self, module: str) -> bool:
        """Whether it depends on a file that cannot be read at present."""
        broken = self.snapshot.broken
        return bool(broken) and self.watch_set.depends_on(module, broken)

    def defer(self, module: str, reason: str) -> None:
        """Run it when the files that it depends on are fixed."""
        self._waiting.setdefault(module, reason)

    def find_outputs(self, modules: Collection[str]) -> set[str]:
        """The existing files that these tools declare as outputs, and what those whose end was not observed wrote at
        their last success."""
        tools = self.registry.tools
        return self.observed_inputs.find_unseen_writes(modules) | {
            path
            for module in modules
            if module in tools
            for pattern in tools[module].outputs
            for path in find_data(self.view.project.root, pattern)
        }

    def _verb(self, path: str) -> str:
        if not self.snapshot.exists(path):
            return "is missing"
        if self.watch_set.is_code(path) or self.snapshot.was_present(path):
            return "changed"
        return "now exists"

    # The whole project.

    def _read_project(self) -> ProjectView:
        view = self._request.read_project(self._environ)
        self._structure.clear()
        return view

    def _is_structural(self, path: str) -> bool:
        """Whether the tools or what the command line offers may have changed, and not only code."""
        if path in (CONF_FILE, *CONFIG_FILES) or path[-1:] == "/":
            return True
        if not self.snapshot.is_module(path):
            return False
        if not self.snapshot.exists(path):
            return True
        return self._structure.has_changed(path, self.view.project)

    def prepare(self) -> None:
        """Prepare what the next change will need, while nothing is to be done."""
        _ = self.watch_set.code
        self._structure.load(self.view.project)


class ToolStructure:
    """What the index says of each module's tools, as of the last reading of the whole project.

    A module that says the same as before cannot have changed which tools there are, so the whole project need not
    be read again.
    """

    def __init__(self) -> None:
        self._known: KnownFacts | None = None

    def clear(self) -> None:
        """The whole project was read again."""
        self._known = None

    def load(self, project: Project) -> KnownFacts:
        """Read the index, unless it has been read. Without an index every change is structural."""
        if self._known is None:
            index = open_index(project.root, __version__)
            self._known = read_known_facts(index, project.pythonpath)
        return self._known

    def has_changed(self, path: str, project: Project) -> bool:
        """Whether this existing module says something else of tools than before."""
        known = self.load(project)
        if path in known.references:
            return True
        if path not in known.files:
            folders = scanned_folders(project)
            return any(not folder or path.startswith(folder + "/") for folder in folders)
        from discover_orch.discovery import parse_files

        name = PythonPath(project).name(path)
        ((_, facts),) = parse_files.read_files(project.root, [(path, name)])
        return facts != known.files[path].facts


def _new_warnings(old: ProjectView, new: ProjectView) -> tuple[Problem, ...]:
    known = set(old.warnings)
    return tuple(warning for warning in new.warnings if warning not in known)
