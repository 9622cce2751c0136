"""The command `orch` itself: finds the subcommand, and turns what goes wrong into text and an exit code.

Commands are imported when they are called, so that none pays for another's start-up.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from discover_orch import __version__
from discover_orch.cli.console import Console
from discover_orch.model.errors import BlockedInterrupt, ExitCode, OrchError, Problem, nearest

if TYPE_CHECKING:
    from discover_orch.worker.spawn import Interpreter

COMMANDS = ("run", "watch", "list", "status", "accept", "history", "logs", "graph", "check")


class LazyGroup(click.Group):
    """A group whose commands stand in modules of their own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """`orch --list` is `orch list`, with whatever stands behind it."""
        if "--list" in args and not set(COMMANDS).intersection(args[: args.index("--list")]):
            args[args.index("--list")] = "list"
        return super().parse_args(ctx, args)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(*args, **extra)
        except BrokenPipeError:  # click would exit with 1, which says that a tool failed
            raise StdoutClosed from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise StdoutClosed from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"discover_orch.cli.{cmd_name}_command")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args in (["run", "--changed"], ["status"]):
            _answer_at_once(ctx, args[0])
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise OrchUsage(f'"{args[0]}" is no command of orch', _meant(ctx, args))
        return super().resolve_command(ctx, args)


def _answer_at_once(ctx: click.Context, command: str) -> None:
    """`orch run --changed` or `orch status` where nothing has changed since all was fresh: no tool is looked at."""
    from discover_orch.staleness.all_fresh_cache import read_all_fresh

    context: Context = ctx.obj
    stages = read_all_fresh(context.start, context.folder, os.environ)
    if not stages:
        return
    if command == "status":
        from discover_orch.render.status import fresh_text

        context.console.out(fresh_text(stages, context.console.out_style))
    else:
        from discover_orch.cli.targets import all_fresh_text

        context.console.out(all_fresh_text(sum(len(names) for _, names in stages)))
    ctx.exit(0)


def _meant(ctx: click.Context, args: Sequence[str]) -> str:
    """The run that a target was typed for, else the nearest command."""
    import shlex

    from discover_orch.planning import project_reader, project_view

    context: Context = ctx.obj
    try:
        project_view.select_targets(
            project_reader.read_project(context.start, context.folder, os.environ), args[:1]
        )
        is_target = True
    except OrchError as error:
        is_target = error.exit_code is not ExitCode.USAGE
    close = None if is_target else nearest(args[0], COMMANDS)
    if close:
        return f'did you mean "orch {close}"? (orch --help shows all)'
    run = f"orch run {shlex.join(args)}"
    return f"to run it: {run}" if is_target else f"orch --help shows all; to run a tool: {run}"


class StdoutClosed(Exception):
    """Nobody reads standard output any more."""


class OrchUsage(click.UsageError):
    """A usage error with a hint."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Context:
    """What every command gets: where it was started, and how to speak."""

    def __init__(self, interpreter: Interpreter | None = None) -> None:
        self.folder: str | None = None
        self.console = Console()
        self._interpreter = interpreter

    def take_interpreter(self) -> Interpreter | None:
        """The interpreter of a worker that was started ahead, once."""
        interpreter, self._interpreter = self._interpreter, None
        return interpreter

    @property
    def start(self) -> str:
        """Where the user stands, absolute."""
        try:
            return os.getcwd()
        except FileNotFoundError:
            return "."


def set_folder(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(Context).folder = value


def set_colour(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(Context).console = Console(value)


def _complete_folder(_: click.Context, __: click.Parameter, incomplete: str) -> list[Any]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]


def common_options(command: Any) -> Any:
    """`-C` and `--color`, which stand before the command or after it."""
    for option in (
        click.option(
            "--color",
            type=click.Choice(["auto", "always", "never"]),
            callback=set_colour,
            expose_value=False,
            help="Colours: auto (a terminal), always, never.",
        ),
        click.option(
            "-C",
            "--project",
            metavar="DIR",
            callback=set_folder,
            expose_value=False,
            is_eager=True,
            shell_complete=_complete_folder,
            help="The root of the project (default: found upwards from here).",
        ),
    ):
        command = option(command)
    return command


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 all well, 1 a tool failed, 2 wrong command line or configuration, or locked, "
    "4 discovery errors, 5 nothing selected.",
)
@common_options
@click.option("--list", is_flag=True, expose_value=False, help="The same as orch list.")
@click.version_option(__version__, prog_name="orch", message="%(prog)s %(version)s")
@click.pass_context
def app(ctx: click.Context) -> None:
    """Run pipelines that nobody had to register.

    A module under src with a STAGE tag and a run() is a tool. Try `orch list`, `orch run`,
    `orch run --dry-run`.
    """
    ctx.ensure_object(Context)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run_command_line(arguments: Sequence[str], interpreter: Interpreter | None = None) -> int:
    """The whole program: never raises, never shows a traceback for a user's mistake.

    `interpreter` is that of a worker which waits for a run; it is ended here where no run has taken it.
    """
    context = Context(interpreter)
    try:
        return _run(context, arguments)
    finally:
        left = context.take_interpreter()
        if left is not None:
            from discover_orch.worker.spawn import end_interpreter

            end_interpreter(left)


def _run(context: Context, arguments: Sequence[str]) -> int:
    try:
        code = app.main(list(arguments), prog_name="orch", standalone_mode=False, obj=context)
        if sys.stdout is not None:
            sys.stdout.flush()
        return int(code or 0)
    except OrchError as error:
        return _tell(context, int(error.exit_code), error.problems)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.Abort:
        return ExitCode.INTERRUPTED
    except BlockedInterrupt as stuck:
        return 128 + stuck.number
    except click.ClickException as error:
        return _tell(context, ExitCode.USAGE, (_click_problem(error),))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except (StdoutClosed, BrokenPipeError):
        return _end_quietly()
    except OSError as error:
        return _own_fault(context) if error.errno != errno.ENOSPC else _tell_full(context)
    except Exception:
        return _own_fault(context)


def _tell(context: Context, code: int, problems: Sequence[Problem]) -> int:
    try:
        context.console.problems(problems)
    except BrokenPipeError:
        return _end_quietly()
    return code


def _tell_full(context: Context) -> int:
    """What orch itself keeps on a full disk is given up silently, so this is standard output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    message = "standard output cannot be written: no space left on the device"
    problem = Problem(code="full", message=message, hint="send it somewhere else")
    return _tell(context, ExitCode.USAGE, (problem,))


def _click_problem(error: click.ClickException) -> Problem:
    """click's message without its own guesses, and ours as the hint."""
    hint = getattr(error, "hint", "")
    message = error.format_message()
    if isinstance(error, click.NoSuchOption):
        message = f"no such option: {error.option_name}"
        close = nearest(error.option_name, error.possibilities or ())
        hint = f"did you mean {close}?" if close else ""
    if isinstance(error, click.BadOptionUsage) and "does not take a value" in message:
        name = error.option_name
        hint = f"write {name} or --no-{name.removeprefix('--')}"
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "the same command with"
    text = message[:1].lower() + message[1:] if message[:2].istitle() else message
    return Problem(
        code="usage", message=text.rstrip("."), hint=hint or f"{command} --help shows what there is"
    )


def _end_quietly() -> int:
    """Nobody reads any more: say nothing, not even at interpreter shutdown. 141 is 128 + SIGPIPE."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    return 141


def _own_fault(context: Context) -> int:
    import traceback

    context.console.err(traceback.format_exc())
    context.console.err(
        f"\nThis is a fault of orch {__version__} itself. Please report it to the project, with the lines "
        "above and what you typed.\n"
    )
    return ExitCode.INTERNAL
