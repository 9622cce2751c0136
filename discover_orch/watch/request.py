"""What was asked to be watched, and the plan of it as the project stands now.

In: what was typed, and a `ProjectView`. Out: a plan, with what stands in its way; and of two plans, the tools for
which the configuration means something else. What cannot be read, or has gone, takes nothing away but itself: only
the first plan raises as a run would. Runs nothing, and knows no changes of files.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch.model.errors import DiscoveryError, EmptyError, Problem, UsageError
from discover_orch.planning import project_view
from discover_orch.planning.params import GivenParams
from discover_orch.planning.plan import Plan, Step, build_plan
from discover_orch.planning.project_view import ProjectView
from discover_orch.planning.selection import Selection, select


class WatchPlan(Struct, frozen=True, kw_only=True):
    """`problems` stand in the way of a plan of all; `strays` are of targets that mean nothing any more."""

    plan: Plan
    problems: tuple[Problem, ...] = ()
    strays: tuple[Problem, ...] = ()


class WatchRequest(Struct, frozen=True, kw_only=True):
    """What was asked to be watched, as typed."""

    start: str
    folder: str | None
    words: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    values: GivenParams = field(default_factory=GivenParams)
    database: str | None = None

    def look(self, environ: Mapping[str, str]) -> ProjectView:
        """Raises ProjectError."""
        view = project_view.look(self.start, self.folder, environ)
        return view if self.database is None else project_view.with_database(view, self.database)

    def plan(self, view: ProjectView, before: Plan | None = None) -> WatchPlan:
        """The plan of everything that is watched. Without one from before it raises UsageError and EmptyError; later
        on what stands in the way of one are problems."""
        is_first = before is None
        strays: tuple[Problem, ...] = ()
        try:
            selection = self._select(view)
        except EmptyError as error:
            if is_first and not view.registry.broken:
                raise
            return WatchPlan(plan=Plan(words=self.words), problems=error.problems)
        except UsageError as error:
            if is_first:
                raise
            strays = error.problems  # a target that has gone takes no other with it
            selection = self._select_some(view)
        try:
            plan = build_plan(selection, view.registry, view.project, self.values)
        except UsageError as error:
            if before is None:
                raise
            return WatchPlan(plan=before, problems=error.problems, strays=strays)
        return WatchPlan(plan=plan, strays=strays)

    def _select(self, view: ProjectView) -> Selection:
        """A file that cannot be read takes nothing away but itself."""
        try:
            return select(self.words, view.registry, exclude=self.exclude, place=view.place)
        except DiscoveryError:
            return self._select_some(view)

    def _select_some(self, view: ProjectView) -> Selection:
        """What the words mean, of those that mean anything."""
        healthy = replace(view.registry, broken=())
        chosen: dict[str, str] = {}
        for word in self.words or ("full",):
            try:
                some = select([word], healthy, exclude=self.exclude, place=view.place)
            except (UsageError, EmptyError):
                continue
            for module in some.tools:
                chosen.setdefault(module, word)
        return Selection(tools=tuple(chosen), because=chosen, words=self.words)


def find_differences(
    old: ProjectView, new: ProjectView, before: Plan, after: Plan
) -> dict[str, str]:
    """Tools for which the configuration means something else than before, each with a sentence."""
    was, now = old.project, new.project
    config = now.config or was.config or "the configuration"
    steps = {step.tool.module: step for step in before.steps}
    found: dict[str, str] = {}
    for step in after.steps:
        module, known = step.tool.module, steps.get(step.tool.module)
        if was.pythonpath != now.pythonpath:
            found[module] = f"pythonpath changed in {config}"
        elif known is not None and _given(step) != _given(known):
            found[module] = _changed_parameter(known, step, config)
        elif "conn" in step.tool.resources and (
            (was.database, was.transaction) != (now.database, now.transaction)
        ):
            found[module] = f"the database changed in {config}"
    return found


def _given(step: Step) -> tuple[object, ...]:
    return tuple((one.param.name, one.texts) for one in step.arguments), dict(step.extra)


def _changed_parameter(before: Step, after: Step, config: str) -> str:
    was = {one.param.name: one for one in before.arguments}
    now = {one.param.name: one for one in after.arguments}
    for name in dict.fromkeys((*was, *now)):
        old, new = was.get(name), now.get(name)
        if (old.texts if old else None) != (new.texts if new else None):
            flag = "--" + name.replace("_", "-")
            given = f"is {new.shown}" if new else "is not given"
            return f"{flag} {given}" + (f", was {old.shown}" if old else "") + f" ({config})"
    return f"its parameters changed in {config}"
