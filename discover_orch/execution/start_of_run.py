"""How a run starts: its settings, the message that prepares a worker, and the first line of the journal, which says
what was planned, of which code, and where it runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from msgspec import Struct

from discover_orch import __version__
from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, uses_get_connection
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
from discover_orch.state.lock import read_boot, read_start
from discover_orch.state.run_record import RecordedParam, RecordedStep, RunBegan
from discover_orch.worker.protocol import Prepare


class RunSettings(Struct, frozen=True, kw_only=True):
    """At most `jobs` tools at a time; `max_failures` end the run. `is_raw`: tools write to the terminal themselves.
    `post_mortem`: a failed tool is debugged there. `all_frames`: tracebacks show libraries too. `predicts`: the events
    say how much time is left, which takes time itself."""

    jobs: int = 1
    max_failures: int | None = None
    is_raw: bool = False
    post_mortem: bool = False
    all_frames: bool = False
    predicts: bool = True


def build_prepare(
    registry: Registry, project: Project, settings: RunSettings | None = None
) -> Prepare:
    settings = settings or RunSettings()
    conf = registry.conf
    resources = conf.resources if conf else ()
    # Those arguments of a resource that are resources themselves; the others keep their defaults.
    offered = {"conn", *(one.name for one in resources)}
    return Prepare(
        root=project.root,
        pythonpath=absolute_pythonpath(project),
        database=project.database,
        transaction=project.transaction,
        orchconf=os.path.join(project.root, conf.path) if conf else None,
        has_connection=uses_get_connection(registry, project),
        resources={
            one.name: tuple(name for name, _ in one.needs if name in offered) for one in resources
        },
        raw_output=settings.is_raw,
        post_mortem=settings.post_mortem,
        all_frames=settings.all_frames,
        observes=True,
        table_version_rows=project.table_version_rows,
        # The worker may be older than these variables.
        environment=dict(os.environ) if project.env_file else None,
    )


def absolute_pythonpath(project: Project) -> tuple[str, ...]:
    return tuple(
        os.path.normpath(os.path.join(project.root, entry)) for entry in project.pythonpath
    )


def start_line(
    event: RunStarted,
    plan: Plan,
    registry: Registry,
    project: Project,
    current: CurrentState,
    code: Mapping[str, CodeState],
    *,
    kind: str,
    ledger: str,
) -> RunBegan:
    """`code` is that of the tools, as `CurrentState.read_code` gives it; `kind` is "run" or "watch"; `ledger` is the
    run's key in the ledger, "" if it has none."""
    name = current.database.name
    has_own = name == GET_CONNECTION
    steps = plan.selected or plan.steps
    codes = [current.code_of(step.tool, code) for step in steps]
    run_now = {step.tool.module for step in plan.steps}
    chosen = {*event.tools}
    order = tuple(module for module in registry.order if module in chosen)
    return RunBegan(
        run=event.run,
        targets=event.targets,
        exclude=plan.exclude,
        is_changed=plan.is_changed,
        tools=tuple(registry.display(module) for module in event.tools),
        modules=event.tools,
        fresh_stages=tuple(registry.stages[registry.rank[tool.module]].name for tool in plan.fresh),
        started=timestamp(),
        pid=os.getpid(),
        process=read_start(os.getpid()),
        boot=read_boot(),
        kind=kind,
        orch=__version__,
        python=sys.version.partition(" ")[0],
        system=f"{sys.platform} {os.uname().machine}",
        commit=read_commit(project.root),
        workers=event.workers,
        plan=tuple(
            _record_step(step, one, bool(ledger) and _has_row(step.tool, registry))
            for step, one in zip(steps, codes, strict=True)
        ),
        sources={path: meaning for one in codes for path, meaning in one.items()},
        order=() if order == event.tools else order,
        database=name if has_own else masked_url(project.database),
        database_origin="orchconf.py" if has_own else project.database_origin,
        resumes=plan.resumes or None,
        ledger=ledger,
        transaction=project.transaction,
        passed_before=tuple(
            step.tool.module
            for step in plan.selected
            if plan.resumes and step.tool.module not in run_now
        ),
    )


def _record_step(step: Step, code: Mapping[str, str], is_in_ledger: bool) -> RecordedStep:
    secret = [name for name, text in step.extra.items() if is_secret_value(name, text)]
    return RecordedStep(
        module=step.tool.module,
        name=step.tool.name,
        stage=step.stage,
        path=step.tool.path,
        after=step.after,
        reason=step.reason,
        params={
            bound.param.name: RecordedParam(texts=bound.effective, origin=bound.origin)
            for bound in step.arguments
            if not bound.is_secret
        },
        extra={name: text for name, text in step.extra.items() if name not in secret},
        secrets=(*(bound.param.name for bound in step.arguments if bound.is_secret), *secret),
        code=hash_code(code),
        is_in_ledger=is_in_ledger,
    )


def _has_row(tool: Tool, registry: Registry) -> bool:
    """Whether its transaction adds a row to the ledger; not known of a tool whose signature is not readable."""
    has_transaction = tool.is_readable and not tool.commits_by_itself
    return has_transaction and takes_connection(tool, registry)
