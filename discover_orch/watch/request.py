"""What the user asked to watch, and the plan for it as the project is now.

A file that cannot be read, or a tool that is gone, takes nothing else away: only the first plan raises as a run would.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from discover_orch.model.conventions import ALL_STAGES
from discover_orch.model.errors import DiscoveryError, EmptyError, Problem, ProjectError, UsageError
from discover_orch.planning import project_reader
from discover_orch.planning.param_values import GivenParams
from discover_orch.planning.plan import Plan, build_plan
from discover_orch.planning.project_view import ProjectView
from discover_orch.planning.selection import Selection, select


class WatchPlan(Struct, frozen=True, kw_only=True):
    """`problems` are reasons why nothing can run; `strays` are about targets that do not exist now."""

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

    def read_project(self, environ: Mapping[str, str]) -> ProjectView:
        """Raises ProjectError."""
        view = project_reader.read_project(self.start, self.folder, environ)
        if view.config_errors:
            raise ProjectError(*view.config_errors)
        return view if self.database is None else project_reader.with_database(view, self.database)

    def plan(self, view: ProjectView, before: Plan | None = None) -> WatchPlan:
        """The plan of everything that is watched.

        Without an earlier plan `before` it raises UsageError and EmptyError; with one these become problems."""
        strays: tuple[Problem, ...] = ()
        try:
            selection = select(self.words, view.registry, exclude=self.exclude, place=view.place)
        except DiscoveryError:  # these files are left out
            selection = self._select_each(view)
        except (UsageError, EmptyError) as error:
            can_be_fixed = isinstance(error, EmptyError) and view.registry.broken
            if before is None and not can_be_fixed:
                raise
            strays = error.problems  # the other targets remain
            selection = self._select_each(view)
        try:
            plan = build_plan(selection, view.registry, view.project, self.values)
        except UsageError as error:
            if before is None:
                raise
            return WatchPlan(plan=before, problems=error.problems, strays=strays)
        return WatchPlan(plan=plan, strays=strays)

    def _select_each(self, view: ProjectView) -> Selection:
        """The selection of those words that still name tools."""
        healthy = replace(view.registry, broken=())
        chosen: dict[str, str] = {}
        for word in self.words or (ALL_STAGES,):
            try:
                some = select([word], healthy, exclude=self.exclude, place=view.place)
            except (UsageError, EmptyError):
                continue
            for module in some.tools:
                chosen.setdefault(module, word)
        return Selection(tools=tuple(chosen), chosen_by=chosen, targets=self.words)
