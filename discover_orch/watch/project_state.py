"""What a watch knows of the project: its tools, their plan, and what a change of files means for them.

In: what was asked for, and the files as they stand. Out: a `ChangeImpact`, and plans. It looks as every command does
(through `looking`) and never runs user code. What each tool depends on is the matter of its `watch_set`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch.config.project import masked_url
from discover_orch.discovery.registry import Registry, uses_get_connection, with_observed
from discover_orch.discovery.scanner import CONF
from discover_orch.model.errors import OrchError, Problem
from discover_orch.planning import project_view
from discover_orch.planning.plan import Plan
from discover_orch.planning.project_view import ProjectView
from discover_orch.staleness.affected import expand
from discover_orch.staleness.current import GET_CONNECTION
from discover_orch.staleness.file_hashes import find_data
from discover_orch.staleness.memory import Memory
from discover_orch.state.flows import read_flows
from discover_orch.state.store import flows_stamp
from discover_orch.watch.observed_inputs import ObservedInputs
from discover_orch.watch.request import WatchPlan, WatchRequest, find_differences
from discover_orch.watch.snapshot import Snapshot
from discover_orch.watch.tool_structure import ToolStructure
from discover_orch.watch.watch_events import Scope
from discover_orch.watch.watch_set import CONFIG_FILES, WatchSet


class ChangeImpact(Struct, frozen=True, kw_only=True):
    """What the differences between the disk and what was accepted mean.

    `found` are watched tools that are affected, each with a sentence, and `by` the path that did it where one
    did; `held` are the names of those that wait for a file to be mended. `is_structural`: the tools, their
    order or their arguments may have changed.
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
    """The first look raises ProjectError and UsageError; later ones turn them into problems of a finding."""

    def __init__(self, request: WatchRequest, environ: Mapping[str, str]) -> None:
        self._request, self._environ = request, environ
        self._waiting: dict[str, str] = {}  # affected, but not to be run before a mend
        self._structure = ToolStructure()
        self._is_lost = False  # the configuration cannot be read
        self._stamp = ""  # of what is remembered of data flow
        self._is_forgetful = False  # what was seen could not be kept
        view = self._look()
        self.observed_inputs = ObservedInputs(view.project.root)
        self.view = self._recall(view)
        self._planned = request.plan(self.view)
        self.watch_set = WatchSet(self.view.project, self.registry, self.plan, self.observed_inputs)

    # What there is.

    @property
    def registry(self) -> Registry:
        return self.view.registry

    @property
    def plan(self) -> Plan:
        """Of everything that is watched."""
        return self._planned.plan

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What stands in the way of a plan."""
        return self._planned.problems

    @property
    def snapshot(self) -> Snapshot:
        return self.watch_set.snapshot

    @property
    def targets(self) -> tuple[str, ...]:
        """The watched tools, in the order of their run."""
        return tuple(step.tool.module for step in self.plan.steps)

    def preload(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What the watched tools import from elsewhere: (module, names of its `from`)."""
        return self.watch_set.sources.third_party(self.targets)

    def expand(self, found: Collection[str], scope: Scope) -> tuple[str, ...]:
        return expand(found, self.registry, scope, self.targets)

    def plan_of(self, reasons: Mapping[str, str]) -> Plan:
        """The part of the plan that is to be run, in its order."""
        steps = tuple(
            replace(
                step,
                reason=reasons[step.tool.module],
                after=tuple(one for one in step.after if one in reasons),
            )
            for step in self.plan.steps
            if step.tool.module in reasons
        )
        return Plan(steps=steps, words=self._request.words)

    def learn(self, wrote: Collection[str] = ()) -> None:
        """What tools were seen to do in a run that has ended holds from here on: their order, and what is looked at.
        A file that they did not meet as it stands has changed since, unless it is among those that the run wrote."""
        observed_inputs = self.observed_inputs
        is_kept = flows_stamp(self.view.project.root) != self._stamp
        if not observed_inputs.has_news and not is_kept:
            return
        self._is_forgetful = observed_inputs.has_news and not is_kept
        old, self.view = self.registry, self._recall(self.view)
        observed_inputs.has_news = False
        registry = with_observed(old, observed_inputs.flows)
        self.view = replace(self.view, registry=registry)
        if (registry.order, registry.flow) != (old.order, old.flow) and not self._is_lost:
            self._planned = self._request.plan(self.view, self.plan)
        new = self.watch_set.learn(self.registry, self.plan, self.snapshot.broken)
        for path in observed_inputs.find_changed_since(new - set(wrote)) if new else ():
            self.snapshot.doubt(path)

    def find_taken_in(self, paths: Collection[str]) -> set[str]:
        """Of these data files, those that each tool which depends on them has met as they stand in the latest run."""
        tools = [step.tool for step in self.plan.steps]
        return self.observed_inputs.find_taken_in(paths, self.snapshot.come_and_gone(), tools)

    def _recall(self, view: ProjectView) -> ProjectView:
        """Take in what is remembered; the view has it already, but for what could not be kept."""
        project = view.project
        stamp, flows = flows_stamp(project.root), {}
        if stamp != self._stamp:
            self._stamp, flows = stamp, read_flows(project.root)
        is_own = uses_get_connection(view.registry, project)
        name = GET_CONNECTION if is_own else masked_url(project.database)
        known = Memory(project.root).databases().get(name)
        self.observed_inputs.recall(flows, known.path if known else "")
        if not self._is_forgetful:
            return view
        return replace(view, registry=with_observed(view.registry, self.observed_inputs.flows))

    # What has changed.

    def consider(self, *, only_code: bool = False) -> ChangeImpact:
        """What differs from what was accepted, and accept it; with `only_code` data files are left for later."""
        differing = self.snapshot.differing()
        broken = {path: one for path, one in differing.items() if one is not None}
        whole = [path for path in differing if path not in broken]
        if only_code:
            whole = [path for path in whole if self.watch_set.is_code(path)]
        if not whole and not broken and not self._is_lost:
            return self._mended(ChangeImpact(problems=self.problems))
        structural = [path for path in whole if self._is_structural(path)]
        was_lost = self._is_lost
        before, old, old_plan = self.watch_set.reaches, self.view, self.plan
        is_anew = bool(structural) or was_lost
        if is_anew:  # or what was wrong with the configuration is mended by now
            try:
                self.view = self._recall(self._look())
                self._planned = self._request.plan(self.view, old_plan)
            except OrchError as error:
                self.view, self._is_lost = old, True
                self._planned = WatchPlan(plan=old_plan, problems=error.problems)
                return ChangeImpact(problems=error.problems, is_structural=True)
            self._is_lost = False
        self.watch_set.renew(
            self.view.project, self.registry, self.plan, keep=broken, is_new=is_anew
        )
        tools = self.registry.tools
        watched = set(self.targets)
        by = self.watch_set.find_affected(whole, before, watched)
        found = {module: f"{path} {self._verb(path)}" for module, path in by.items()}
        if is_anew:
            found |= find_differences(old, self.view, old_plan, self.plan)
        found = {module: why for module, why in found.items() if module in watched}
        self.snapshot.accept(whole)
        broken_modules = {one.module for one in self.registry.broken}
        gone = [
            old.registry.tools[module].name
            for module in old.registry.tools.keys() - tools.keys()
            if old.registry.tools[module].path in whole and module not in broken_modules
        ]
        return self._mended(
            ChangeImpact(
                paths=tuple(whole),
                found=found,
                by=by,
                gone=tuple(sorted(gone)),
                problems=(
                    *broken.values(),
                    *(self.problems if is_anew else ()),
                    *self._planned.strays,
                    *project_view.errors(self.view),
                ),
                warnings=_new_warnings(old, self.view) if structural else (),
                is_structural=bool(structural),
            )
        )

    def _mended(self, finding: ChangeImpact) -> ChangeImpact:
        """The finding, less the tools that must wait, and with those that need wait no more."""
        broken, blocked = self.snapshot.broken, self.blocked
        found = self._waiting | dict(finding.found)
        watched = set(self.targets)
        held = {
            module: why
            for module, why in found.items()
            if self.problems  # no plan can be made at all
            or module not in watched
            or self.watch_set.depends_on(module, broken)
            or (module in blocked and module not in finding.found)
        }
        self._waiting = {
            module: why for module, why in held.items() if module in self.watch_set.reaches
        }
        return replace(
            finding,
            found={module: why for module, why in found.items() if module not in held},
            held=tuple(self.registry.display(one) for one in held if one in finding.found),
        )

    @property
    def blocked(self) -> frozenset[str]:
        """What is downstream of tools that are held: it runs with them, unless it has changed itself."""
        held = [module for module in self.targets if self.is_held(module)]
        return self.registry.downstream(held) - set(held) if held else frozenset()

    @property
    def waiting(self) -> tuple[str, ...]:
        """The names of watched tools that wait for a file to be mended."""
        wait = {module for module in self.targets if self.is_held(module)} | self._waiting.keys()
        return tuple(self.registry.display(one) for one in self.targets if one in wait)

    def is_held(self, module: str) -> bool:
        """Whether it depends on a file that cannot be read as it stands."""
        broken = self.snapshot.broken
        return bool(broken) and self.watch_set.depends_on(module, broken)

    def put_off(self, module: str, why: str) -> None:
        """To be run when what it depends on is mended."""
        self._waiting.setdefault(module, why)

    def find_outputs(self, modules: Collection[str]) -> set[str]:
        """The files that these tools declare as their outputs, as far as they are there, and what those that nobody
        saw at their end wrote before."""
        tools = self.registry.tools
        return self.observed_inputs.find_unseen_writes(modules) | {
            path
            for module in modules
            if module in tools
            for pattern in tools[module].outputs
            for path in find_data(self.view.project.root, pattern)
        }

    def _verb(self, path: str) -> str:
        if not self.snapshot.is_there(path):
            return "is gone"
        if self.watch_set.is_code(path) or self.snapshot.was_there(path):
            return "changed"
        return "is there now"

    # A look at the whole project.

    def _look(self) -> ProjectView:
        view = self._request.look(self._environ)
        self._structure.forget()
        return view

    def _is_structural(self, path: str) -> bool:
        """Whether the tools, or what the command line offers, may be others now: else only code has changed."""
        if path in (CONF, *CONFIG_FILES) or path[-1:] == "/":
            return True
        if not self.snapshot.is_module(path):
            return False
        if not self.snapshot.is_there(path):
            return True
        return self._structure.is_another(path, self.view.project)

    def warm(self) -> None:
        """What the next change will need, while there is time."""
        _ = self.watch_set.code
        self._structure.warm(self.view.project)


def _new_warnings(old: ProjectView, new: ProjectView) -> tuple[Problem, ...]:
    known = set(project_view.warnings(old))
    return tuple(one for one in project_view.warnings(new) if one not in known)
