"""Mistakes on the command line that click found: its messages, with hints of ours.

An option that people know from another program gets a hint at what orch has instead.
"""

from __future__ import annotations

from collections.abc import Mapping

import click

from discover_orch.model.errors import Problem, nearest

#: An option that is less similar is not what was meant.
_OPTION_SIMILARITY = 0.7
_TARGETS = "targets need no option: orch {command} TARGET"
_JOBS = "run several tools at the same time with: --jobs N"
_AGAIN = "orch run --resume continues the run that failed"
_FORCE = "orch run also runs fresh targets; only --changed leaves them out"
_OUTPUT = "show output without capturing it with: --output raw"
_PARAM = "set a parameter with: -p KEY=VALUE"

#: By the name of the option, without dashes at its start.
_FOR_TARGETS: Mapping[str, str] = dict.fromkeys(
    ("select", "models", "model", "m", "k", "target", "targets", "tool", "task", "stage", "only"),
    _TARGETS,
)
_FOR_RUN: Mapping[str, str] = {
    **dict.fromkeys(("j", "parallel", "workers", "threads", "numprocesses"), _JOBS),
    **dict.fromkeys(("lf", "last-failed", "failed", "retry-failed", "restart"), _AGAIN),
    **dict.fromkeys(("f", "force", "forceall", "full-refresh", "rerun", "no-cache", "all"), _FORCE),
    **dict.fromkeys(("s", "no-capture", "nocapture", "capture"), _OUTPUT),
    **dict.fromkeys(("var", "vars", "set", "config-override"), _PARAM),
    "wait": "wait for the end of another run with: --if-busy wait",
    **dict.fromkeys(("watch", "w"), "run again after each save with: orch watch"),
    **dict.fromkeys(("fail-fast", "failfast"), "stop at the first tool that fails with: -x"),
    **dict.fromkeys(
        ("keep-going", "continue"),
        "a run continues with the tools that do not depend on a failed one",
    ),
    **dict.fromkeys(("config", "config-file"), "choose the project with: -C DIR"),
    **dict.fromkeys(("db", "url", "connection"), "choose the database with: --database URL"),
    **dict.fromkeys(("check", "plan", "show"), "show what would run with: --dry-run"),
}
_FOR_MISSING: Mapping[str, str] = {
    "stage": "orch list shows the stages of the project; any other name adds a stage"
}
_WITH_TARGETS = ("run", "watch", "list", "status", "accept", "graph")


def build_usage_problem(error: click.ClickException) -> Problem:
    """click's message, with a hint of ours instead of its own."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "orch"
    message, hint = error.format_message(), getattr(error, "hint", "")
    if isinstance(error, click.BadParameter):
        message, hint = _parameter_problem(error)
    elif isinstance(error, click.NoSuchOption):
        message = f"no such option: {error.option_name}"
        hint = _option_hint(error, context)
    text = message[:1].lower() + message[1:] if message[:2].istitle() else message
    hint = hint or f"{command} --help shows how to use it"
    return Problem(code="usage", message=text.rstrip("."), hint=hint)


def _parameter_problem(error: click.BadParameter) -> tuple[str, str]:
    param = error.param
    if isinstance(param, click.Argument) and isinstance(param.type, click.Choice):
        name = param.human_readable_name
        if isinstance(error, click.MissingParameter):  # click needs a line for each
            choices = ", ".join(map(str, param.type.choices))
            return f"missing argument '{name}'", f"choose from {choices}"
        return f"invalid {name}: {error.message}", ""
    is_path = isinstance(param, click.Argument) and isinstance(param.type, click.Path)
    if is_path and not isinstance(error, click.MissingParameter):
        return error.message, ""
    is_missing = isinstance(error, click.MissingParameter) and param is not None
    hint = _FOR_MISSING.get(param.name or "", "") if is_missing and param is not None else ""
    return error.format_message(), hint


def _option_hint(error: click.NoSuchOption, context: click.Context | None) -> str:
    """The nearest option, or what stands for an option of another program."""
    name = error.option_name.lstrip("-")
    by_name = {one.lstrip("-"): one for one in error.possibilities or ()}
    is_long = error.option_name.startswith("--")
    begun = [one for one in by_name if is_long and one.startswith(name)]
    command = context.info_name if context else None
    foreign = _foreign_hint(command or "", error.option_name)
    if foreign and len(begun) != 1:
        return foreign
    close = begun[0] if len(begun) == 1 else nearest(name, by_name, similarity=_OPTION_SIMILARITY)
    return f"did you mean {by_name[close]}?" if close else ""


def _foreign_hint(command: str, option: str) -> str:
    """A hint for an option that this command of orch, such as `run`, does not have; "" where none is known."""
    name = option.lstrip("-").replace("_", "-")
    if command in _WITH_TARGETS and name in _FOR_TARGETS:
        return _FOR_TARGETS[name].format(command=command)
    return _FOR_RUN.get(name, "") if command == "run" else ""
