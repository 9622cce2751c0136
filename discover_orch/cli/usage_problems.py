"""Mistakes on the command line that click found: its messages, with hints of ours."""

from __future__ import annotations

from collections.abc import Mapping

import click

from discover_orch.model.errors import Problem, nearest

#: An option that is less similar is not what was meant.
_OPTION_SIMILARITY = 0.65
#: By the name of the option or argument that is missing.
_FOR_MISSING: Mapping[str, str] = {
    "stage": "orch list shows the stages of the project; any other name adds a stage"
}


def build_usage_problem(error: click.ClickException) -> Problem:
    """click's message, with a hint of ours instead of its own."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "orch"
    message, hint = error.format_message(), getattr(error, "hint", "")
    if isinstance(error, click.BadParameter):
        message, hint = _parameter_problem(error)
    elif isinstance(error, click.NoSuchOption):
        message = f"no such option: {error.option_name}"
        hint = _option_hint(error)
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


def _option_hint(error: click.NoSuchOption) -> str:
    """The nearest option, or ""."""
    name = error.option_name.lstrip("-")
    by_name = {one.lstrip("-"): one for one in error.possibilities or ()}
    is_long = error.option_name.startswith("--")
    begun = [one for one in by_name if is_long and one.startswith(name)]
    close = begun[0] if len(begun) == 1 else nearest(name, by_name, similarity=_OPTION_SIMILARITY)
    return f"did you mean {by_name[close]}?" if close else ""
