"""The command `orch`: finds the subcommand, and turns every error into a message and an exit code.

A command's module is imported when the command is called, which keeps the start of the others short.
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
from discover_orch.cli.options import Context, OrchUsage, common_options
from discover_orch.model.errors import (
    BlockedInterrupt,
    ExitCode,
    OrchError,
    Problem,
    nearest,
)

if TYPE_CHECKING:
    from discover_orch.worker.spawn import Interpreter

#: In the order of `orch --help`. The command `x` is `command` in `cli/x_command.py`.
COMMANDS = (
    *("run", "watch", "list", "status", "accept", "history", "logs"),
    *("graph", "report", "check", "lock", "clean", "init", "new", "adopt"),
    *("completion", "export"),
)
#: Words that mean a command and are not listed.
ALIASES = {"ls": "list"}
#: Those that are `x_command` in `cli/scaffold_commands.py`.
_SCAFFOLD = frozenset({"adopt", "export", "init", "new"})
_FULL = Problem(
    code="full",
    message="cannot write standard output: no space left on the device",
    hint="free some space, or redirect the output to another disk",
)
#: `orch run` needs some twenty descriptors, and more for several workers.
_OPEN_FILES = Problem(
    code="open-files",
    message="too many open files: the limit of this shell or system is too low for orch",
    hint="raise the limit first, as with: ulimit -n 1024",
)


class StdoutClosed(Exception):
    """The reader of standard output has closed it."""


class LazyGroup(click.Group):
    """A group that imports the module of a command when it is called."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """`orch --list` means `orch list`, with the options that follow it."""
        if "--list" in args and not set(COMMANDS).intersection(args[: args.index("--list")]):
            args[args.index("--list")] = "list"
        return super().parse_args(ctx, args)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(*args, **extra)
        except BrokenPipeError:  # click would exit with 1, which means that a tool failed
            raise StdoutClosed from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            name = ctx.invoked_subcommand
            found = self.get_command(ctx, name) if name and error.ctx is None else None
            if found is not None:  # click says of a missing value only which option it belongs to
                error.ctx = click.Context(found, ctx, name)
            raise
        except BrokenPipeError:
            raise StdoutClosed from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = f"{cmd_name}_command", "command"
        if cmd_name in _SCAFFOLD:
            module, name = "scaffold_commands", module
        found: click.Command = getattr(importlib.import_module(f"discover_orch.cli.{module}"), name)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        args = [ALIASES.get(args[0], args[0]), *args[1:]]
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise OrchUsage(f'"{args[0]}" is not an orch command', _suggestion(ctx, args))
        return super().resolve_command(ctx, args)


def _suggestion(ctx: click.Context, args: Sequence[str]) -> str:
    """`orch run` with these words if the first is a target, else the nearest command or target."""
    import shlex

    from discover_orch.planning import project_view
    from discover_orch.planning.selection import completions

    context: Context = ctx.obj
    targets: list[str] = []
    try:
        view = context.read_project()
        targets = [word for word, _ in completions(view.registry)]
        project_view.select_targets(view, args[:1])
        is_target = True
    except OrchError as error:
        is_target = error.exit_code is not ExitCode.USAGE
    close = None if is_target else nearest(args[0], [*COMMANDS, *targets])
    if close:
        meant = close if close in COMMANDS else f"run {shlex.join([close, *args[1:]])}"
        return f'did you mean "orch {meant}"? orch --help lists all commands'
    run = f"orch run {shlex.join(args)}"
    if is_target:
        return f"run it with: {run}"
    return f"orch --help lists all commands; run a tool with: {run}"


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 success, 1 a tool failed, 2 wrong command line or configuration, or another "
    "run is in progress, 3 a bug in orch, 4 errors in the source of the project, 5 no tools selected.",
)
@common_options
@click.option("--list", is_flag=True, expose_value=False, help="Same as orch list.")
@click.version_option(
    __version__,
    prog_name="orch",
    message="%(prog)s %(version)s",
    help="Show the version.",
)
@click.pass_context
def app(ctx: click.Context) -> None:
    """Find the tools of a pipeline and run them in order.

    A tool is a Python module under src with a STAGE constant and a run() function. Start with
    `orch init` in an empty folder, or with `orch list`, `orch run -n` and `orch run`.
    """
    ctx.ensure_object(Context)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run_command_line(arguments: Sequence[str], interpreter: Interpreter | None = None) -> int:
    """The whole program, as a function: returns the exit code and never raises.

    A user's mistake is a message without a traceback. `interpreter` was started ahead for a worker; it is
    ended here if no run has claimed it.
    """
    context = Context(interpreter)
    try:
        return _run(context, arguments)
    finally:
        context.end_interpreter()


def _run(context: Context, arguments: Sequence[str]) -> int:
    try:
        code = app.main(list(arguments), prog_name="orch", standalone_mode=False, obj=context)
        if sys.stdout is not None:
            sys.stdout.flush()
        return int(code or 0)
    except OrchError as error:
        return _report(context, int(error.exit_code), error.problems, arguments)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.Abort:
        return ExitCode.INTERRUPTED
    except BlockedInterrupt as stuck:
        return 128 + stuck.number
    except click.ClickException as error:
        from discover_orch.cli.usage_problems import build_usage_problem

        return _report(context, ExitCode.USAGE, (build_usage_problem(error),), arguments)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except (StdoutClosed, BrokenPipeError):
        return _end_quietly()
    except OSError as error:
        if (
            error.errno == errno.ENOSPC
        ):  # of standard output: errors on writing `.orch` never get here
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return _report(context, ExitCode.USAGE, (_FULL,))
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return _report(context, ExitCode.USAGE, (_OPEN_FILES,))
        return _report_bug(context)
    except Exception:
        return _report_bug(context)


def _report(
    context: Context, code: int, problems: Sequence[Problem], arguments: Sequence[str] = ()
) -> int:
    """With `--json` among the arguments, stdout gets a document of the problems if it has none yet."""
    try:
        if "--json" in arguments and not context.console.has_written:
            errors = [one for one in problems if one.severity == "error"]
            context.console.json({"errors": errors})
        context.console.problems(problems)
    except BrokenPipeError:
        return _end_quietly()
    return code


def _end_quietly() -> int:
    """Standard output is closed: write nothing, not even at interpreter shutdown. 141 is 128 + SIGPIPE."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    return 141


def _report_bug(context: Context) -> int:
    import traceback

    context.console.err(traceback.format_exc())
    context.console.err(
        f"\nThis is a bug in orch {__version__}. Please report it, with the lines above and the command "
        "that you typed.\n"
    )
    return ExitCode.INTERNAL
