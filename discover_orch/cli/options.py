"""Options and arguments that several commands share, each declared once, and the values made from them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from discover_orch.cli.console import Console
from discover_orch.model.errors import OrchError, Problem, UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from discover_orch.planning.project_view import ProjectView
    from discover_orch.worker.spawn import Interpreter

#: Key of the `ProjectView` in `click.Context.meta`, set by `ToolsCommand`.
VIEW = "discover_orch.view"
#: How many runs are listed or completed unless more are asked for.
MOST_RUNS = 20
#: What stands before the name of a tool's parameter in `click.Context.params`.
PREFIX = "param:"
#: The type of an option: a whole number from 1.
POSITIVE = click.IntRange(min=1)
POSITIVE.name = "whole number"  # for messages: click says "integer range"


class OrchUsage(UsageError):
    """A mistake on the command line that click does not find."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(Problem(code="usage", message=message, hint=hint))


class Context:
    """What every command gets: the folder it was started in, the `-C` folder, and the console."""

    def __init__(self, interpreter: Interpreter | None = None) -> None:
        self.folder: str | None = None
        self.console = Console()
        self._interpreter = interpreter

    def claim_interpreter(self) -> Interpreter | None:
        """The interpreter that was started ahead for a worker; None from the second call on."""
        interpreter, self._interpreter = self._interpreter, None
        return interpreter

    def end_interpreter(self) -> None:
        """End the interpreter that was started ahead, if nothing has claimed it."""
        left = self.claim_interpreter()
        if left is not None:
            from discover_orch.worker.spawn import end_interpreter

            end_interpreter(left)

    def read_project(self, **how: bool) -> ProjectView:
        """The project that the user is in, or that `-C` names; `how` is as of `planning.project_view`."""
        from discover_orch.planning.project_view import read_project

        return read_project(self.start, self.folder, os.environ, **how)

    @property
    def start(self) -> str:
        """The current folder, absolute. If it has been deleted, that of `-C`, or `.`."""
        try:
            return os.getcwd()
        except FileNotFoundError:
            return self.folder if self.folder and os.path.isabs(self.folder) else "."


class CompletedText(click.ParamType):  # type: ignore[type-arg]
    """A text that can be completed: `find` gives the words that may begin like this one, each with its help."""

    def __init__(self, name: str, find: Callable[[click.Context, str], Mapping[str, str]]) -> None:
        self.name, self._find = name, find

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        if "/" in incomplete:
            return complete_path(incomplete, "file")
        return complete_words(self._find(ctx, incomplete), incomplete)


def complete_words(words: Mapping[str, str], start: str = "") -> list[CompletionItem]:
    """Those of the words that begin like this, with the help of each."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(one, help=text) for one, text in words.items() if one.startswith(start)]


def complete_path(start: str, kind: str) -> list[CompletionItem]:
    """The shell completes the path of a `file` or `dir`."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(start, type=kind)]


def _find_targets(ctx: click.Context, start: str) -> dict[str, str]:
    from discover_orch.planning.selection import completions

    view, plus = read_for_completion(ctx), "+" if start.startswith("+") else ""
    found: dict[str, str] = {}
    for word, what in completions(view.registry, forced=":" in start) if view else ():
        found.setdefault(plus + word, what)
    return found


def _find_tools(ctx: click.Context, _: str) -> dict[str, str]:
    view = read_for_completion(ctx)
    if view is None:
        return {}
    registry = view.registry.by_tool
    return {registry.display(one): registry.tools[one].doc for one in registry.order}


def _find_stages(ctx: click.Context, _: str) -> dict[str, str]:
    view = read_for_completion(ctx)
    return {stage.name: "" for stage in view.registry.stages} if view else {}


def _find_runs(ctx: click.Context, start: str) -> dict[str, str]:
    """The newest runs, with when each began and how it ended."""
    from discover_orch.config.file import find_root
    from discover_orch.render.style import status_word, time_text
    from discover_orch.state.journal import find_runs, read_summary

    context: Any = ctx.find_root().obj or Context()
    try:
        root = find_root(context.start, context.folder)[0]
    except (OrchError, OSError):
        return {}
    runs = [run for run in find_runs(root) if run.startswith(start)][:MOST_RUNS]
    found = {run: read_summary(root, run) for run in runs}
    return {
        run: f"{time_text(one.started)} {status_word(one.status)}"
        for run, one in found.items()
        if one
    }


def read_for_completion(ctx: click.Context) -> ProjectView | None:
    """Reads source only. A project with errors gives no completions and no message."""
    known: ProjectView | None = ctx.meta.get(VIEW)
    if known is not None:
        return known
    context: Context = ctx.find_root().obj or Context()
    try:
        return context.read_project()
    except (OrchError, OSError):
        return None


TARGETS = CompletedText("target", _find_targets)
TOOL = CompletedText("target", _find_tools)
STAGE = CompletedText("stage", _find_stages)
RUN = CompletedText("run", _find_runs)

targets_argument = click.argument("targets", nargs=-1, type=TARGETS)
exclude_option = click.option(
    "--exclude",
    multiple=True,
    metavar="TARGET",
    type=TARGETS,
    help="Leave out this target. Can be given several times.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
changed_since_option = click.option(
    "--changed-since",
    metavar="REF",
    help="Only tools whose code or inputs changed since this git commit, and all downstream.",
)
if_busy_option = click.option(
    "--if-busy",
    type=click.Choice(["fail", "wait", "skip"]),
    default="fail",
    show_default=True,
    help="If another run is in progress: exit with 2, wait for its end, or exit with 0.",
)


def choosing_options(
    *own: Callable[[Any], Any],
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Targets and `--exclude`, the `own` options of a command that shows what was chosen, `--json`, and the options of
    all commands. The command gets the `Context` first."""
    return lambda command: decorated(
        common_options(click.pass_obj(command)),
        json_option,
        *reversed(own),
        exclude_option,
        targets_argument,
    )


def display_options(
    *outputs: str, quiet: str, verbose: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--output`, `-q`, `-v` and `--json` of a command that shows runs, with these help texts."""
    raw = " raw: all, without capturing it; not with --json." if "raw" in outputs else ""
    return lambda command: decorated(
        command,
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line."),
        click.option("-v", "--verbose", is_flag=True, help=verbose),
        click.option("-q", "--quiet", is_flag=True, help=quiet),
        click.option(
            "--output",
            type=click.Choice(outputs),
            default="live",
            show_default=True,
            help="Which output of tools to show. live: all, as it comes. fail: of tools that fail. none: nothing."
            + raw,
        ),
    )


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--junit`, `--trace`, `--openlineage` and `--on-failure`."""
    on_failure = click.option(
        "--on-failure",
        metavar="COMMAND",
        help="If the run fails, give the summary of the run, as JSON, to this shell command.",
    )
    return file_options(decorated(command, on_failure))


def file_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--junit`, `--trace` and `--openlineage`."""
    texts = {
        "--openlineage": "Write the run as OpenLineage events to this file.",
        "--trace": "Write the run as a trace for ui.perfetto.dev to this file.",
        "--junit": "Write the results as JUnit XML to this file.",
    }
    options = [
        click.option(name, metavar="FILE", type=click.Path(), help=text)
        for name, text in texts.items()
    ]
    return decorated(command, *options)


def take_files(given: dict[str, Any]) -> dict[str, str]:
    """What was given for `file_options`, by the options."""
    paths = {f"--{name}": given.pop(name) for name in ("junit", "trace", "openlineage")}
    return {option: path for option, path in paths.items() if path is not None}


def common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`-C` and `--color`, which are accepted before the command and after it."""
    return decorated(
        command,
        click.option(
            "--color",
            type=click.Choice(["auto", "always", "never"]),
            callback=_set_colour,
            expose_value=False,
            help="When to use colours. auto: on a terminal only.  [default: auto]",
        ),
        click.option(
            "-C",
            "--project",
            metavar="DIR",
            callback=_set_folder,
            expose_value=False,
            is_eager=True,
            shell_complete=lambda _, __, start: complete_path(start, "dir"),
            help="The root of the project.  [default: the nearest one, searching upwards from here]",
        ),
    )


def decorated(command: Callable[..., Any], *options: Callable[[Any], Any]) -> Callable[..., Any]:
    """`options` from the last to the first, as click wants decorators."""
    for option in options:
        command = option(command)
    return command


def _set_folder(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(Context).folder = value


def _set_colour(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(Context).console = Console(value)
