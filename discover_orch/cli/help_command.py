"""`orch help`: what a user must know that belongs to no single command, and the help of each command.

`orch completion`: the line that switches on completion, which click makes."""

from __future__ import annotations

import os
from collections.abc import Mapping

import click

from discover_orch.cli.options import Context, OrchUsage, common_options
from discover_orch.model.errors import ExitCode, nearest
from discover_orch.render.style import Style, table, wrap

_FOLDER = os.path.join(os.path.dirname(__file__), "topics")
#: Of each exit code, or of several.
EXIT_CODES: Mapping[str, str] = {
    "0": "success",
    "1": "a tool failed; for orch status --exit-code, a tool is not fresh",
    "2": "wrong command line or configuration, or another run is in progress",
    "3": "an internal error of orch",
    "4": "errors in the source of the project; nothing was run",
    "5": "nothing selected, or no tool found",
    "129": "ended by a hang-up",
    "130": "ended by an interrupt (Ctrl-C)",
    "143": "ended by a termination signal",
}
#: In the order in which they are listed, with what each is about. `topics/NAME.txt` has its text.
TOPICS: Mapping[str, str] = {
    "convention": "what makes a module a tool",
    "tags": "what a module can say in STAGE, AFTER and ORCH",
    "targets": "how to say what to run",
    "parameters": "how tools get their values",
    "configuration": "the settings of a project, and their defaults",
    "exit-codes": "what the exit code means",
}


def topic_text(topic: str) -> str:
    with open(os.path.join(_FOLDER, f"{topic}.txt"), encoding="utf-8") as file:
        text = file.read()
    if topic == "tags":
        from discover_orch.discovery.orch_tag import RULES

        text += "".join(_entry(f'"{key}"', rule.meaning) for key, rule in RULES.items())
    elif topic == "configuration":
        from discover_orch.config.project import configuration_rows

        rows = configuration_rows()
        text += "".join(_entry(f"{key} = {value}", meaning) for key, value, meaning in rows)
    elif topic == "exit-codes":
        rows_of_codes = (f"    {code:<3}  {meaning}\n" for code, meaning in EXIT_CODES.items())
        text = "".join(rows_of_codes) + text
    return text


def _entry(name: str, meaning: str) -> str:
    import textwrap

    lines = textwrap.wrap(meaning.replace("`", ""), width=72, break_long_words=False)
    return f"\n    {name}\n" + "".join(f"        {line}\n" for line in lines)


@click.command("help", short_help="Explain a topic or a command.")
@click.argument(
    "topic",
    required=False,
    shell_complete=lambda ctx, _, start: [one for one in _names(ctx) if one.startswith(start)],
)
@common_options
@click.pass_context
def command(ctx: click.Context, topic: str | None) -> int:
    """Explain a topic or a command.

    Without TOPIC, lists the topics.
    """
    context: Context = ctx.obj
    if topic is None:
        style = context.console.out_style
        last = wrap("orch help TOPIC explains one. orch --help lists the commands.", style)
        lines = ("Topics:", *table(TOPICS.items(), style), "", last)
        context.console.out("\n".join(lines) + "\n")
    elif topic in TOPICS:
        context.console.out(_fit(topic_text(topic), context.console.out_style))
    else:
        context.console.out(_command_help(ctx, topic))
    return ExitCode.OK


def _names(ctx: click.Context) -> list[str]:
    """What can be explained."""
    group = ctx.find_root().command
    assert isinstance(group, click.Group)
    return [*TOPICS, *group.list_commands(ctx)]


def _fit(text: str, style: Style) -> str:
    """The text of a topic, wrapped anew where the screen is too narrow for its lines. A row of two columns continues
    below its second one."""
    if max(map(len, text.splitlines())) <= style.width:
        return text
    rows: list[tuple[str, str]] = []  # each with what its further lines begin with
    for line in text.splitlines():
        content = line.lstrip()
        indent = line[: len(line) - len(content)]
        if content and rows and rows[-1][0] and rows[-1][1] == indent:
            rows[-1] = f"{rows[-1][0]} {content}", indent
            continue
        name, gap, _ = content.partition("  ")
        rows.append(
            (line, " " * line.index(content.removeprefix(name).lstrip()) if gap else indent)
        )
    return "".join(wrap(row, style, pad) + "\n" for row, pad in rows)


def _command_help(ctx: click.Context, name: str) -> str:
    """What `orch NAME --help` shows. Raises OrchUsage if there is neither a topic nor a command of this name."""
    parent = ctx.find_root()
    group = parent.command
    assert isinstance(group, click.Group)
    found = group.get_command(ctx, name)
    if found is None:
        near = nearest(name, _names(ctx))
        meant = f'did you mean "{near}"? ' if near else ""
        raise OrchUsage(
            f'"{name}" is neither a topic nor a command', f"{meant}orch help lists the topics"
        )
    with found.make_context(name, ["--help"], parent=parent, resilient_parsing=True) as own:
        return found.get_help(own) + "\n"


#: The start-up file of each shell, and the line for it.
COMPLETION_LINES = {
    "bash": ("~/.bashrc", 'eval "$(_ORCH_COMPLETE=bash_source orch)"'),
    "zsh": ("~/.zshrc", 'eval "$(_ORCH_COMPLETE=zsh_source orch)"'),
    "fish": ("~/.config/fish/config.fish", "_ORCH_COMPLETE=fish_source orch | source"),
}


@click.command("completion", short_help="Print the line that switches on completion.")
@click.argument("shell", type=click.Choice(list(COMPLETION_LINES)))
@common_options
@click.pass_obj
def completion_command(context: Context, shell: str) -> int:
    """Print the line that switches on completion in a shell. Add it to the start-up file of the shell.

    The shell then completes commands, targets, options, parameters of the chosen tools and numbers
    of runs.
    """
    file, line = COMPLETION_LINES[shell]
    context.console.out(f"# add this to {file}\n{line}\n")
    return ExitCode.OK
