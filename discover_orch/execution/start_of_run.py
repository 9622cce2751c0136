"""The first line of a run's journal: what was planned, of which code, and where it runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from discover_orch import __version__
from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.execution.events import RunStarted
from discover_orch.model.database_url import masked_url
from discover_orch.model.parameter import is_secret_value
from discover_orch.model.tool import Tool
from discover_orch.planning.plan import Plan, Step
from discover_orch.staleness.current import CurrentState, hash_code, takes_connection
from discover_orch.staleness.current_database import GET_CONNECTION
from discover_orch.staleness.import_graph import CodeState
from discover_orch.state.git_files import read_commit
from discover_orch.state.journal import timestamp
from discover_orch.state.process import read_boot, read_start


class StartOfRun:
    """A run that is about to start. `code` is that of its tools, as `CurrentState.read_code` gives it."""

    def __init__(
        self,
        plan: Plan,
        registry: Registry,
        project: Project,
        current: CurrentState,
        code: Mapping[str, CodeState],
    ) -> None:
        self._plan, self._registry, self._project = plan, registry, project
        self._current, self._code = current, code

    def line(self, event: RunStarted, *, kind: str, ledger: str) -> dict[str, object]:
        """`kind` is "run" or "watch"; `ledger` is the run's key in the ledger, if it has one."""
        plan, project, name = self._plan, self._project, self._current.database.name
        has_own = name == GET_CONNECTION
        sources: dict[str, str] = {}  # each file of the tools' code, and what it means
        rows = [self._row(step, ledger, sources) for step in plan.all_steps or plan.steps]
        run_now = {step.tool.module for step in plan.steps}
        return {
            "started": timestamp(),
            "pid": os.getpid(),
            "process": read_start(os.getpid()),
            "boot": read_boot(),
            "kind": kind,
            "orch": __version__,
            "python": sys.version.partition(" ")[0],
            "system": f"{sys.platform} {os.uname().machine}",
            "commit": read_commit(project.root),
            "workers": event.workers,
            "fresh_stages": [
                self._registry.stages[self._registry.rank[tool.module]].name for tool in plan.fresh
            ],
            "modules": list(event.tools),
            "plan": rows,
            "sources": sources,
            "order": self._order(event.tools),
            "database": name if has_own else masked_url(project.database),
            "database_origin": "orchconf.py" if has_own else project.database_origin,
            "resumes": plan.resumes or None,
            **({"ledger": ledger} if ledger else {}),
            **({"transaction": "run"} if project.transaction == "run" else {}),
            "passed_before": [
                step.tool.module for step in plan.all_steps if step.tool.module not in run_now
            ],
        }

    def _order(self, modules: Sequence[str]) -> list[str]:
        """The modules in the order of the whole pipeline; empty if that is the order of the run."""
        chosen = {*modules}
        found = [module for module in self._registry.order if module in chosen]
        return [] if found == [*modules] else found

    def _row(self, step: Step, ledger: str, sources: dict[str, str]) -> dict[str, object]:
        """The step as it was planned. Adds the files of its code to `sources`."""
        code = self._current.code_of(step.tool, self._code)
        sources.update(code)
        return {
            "module": step.tool.module,
            "name": step.tool.name,
            "stage": step.stage,
            "path": step.tool.path,
            "after": list(step.after),
            "reason": step.reason,
            "params": {
                bound.param.name: {"texts": list(bound.effective), "origin": bound.origin}
                for bound in step.arguments
                if not bound.is_secret
            },
            "extra": {
                name: text for name, text in step.extra.items() if not is_secret_value(name, text)
            },
            "secrets": [
                *(bound.param.name for bound in step.arguments if bound.is_secret),
                *(name for name, text in step.extra.items() if is_secret_value(name, text)),
            ],
            "code": hash_code(code),
            **({"is_in_ledger": True} if ledger and self._has_row(step.tool) else {}),
        }

    def _has_row(self, tool: Tool) -> bool:
        """Whether its transaction adds a row to the ledger; not known of a tool whose signature is not readable."""
        has_transaction = tool.is_readable and not tool.commits_by_itself
        return has_transaction and takes_connection(tool, self._registry)
