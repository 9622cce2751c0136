"""`orch help`: what a user must know that belongs to no single command, and the help of each command.

`orch completion`: the line that switches on completion, which click makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import click

from discover_orch.cli.options import Context, OrchUsage, common_options
from discover_orch.model.errors import ExitCode, nearest
from discover_orch.render.style import Style, wrap

CONVENTION = """\
A tool is a Python module under src with two top-level names:

    STAGE = "ingest"                 the stage that it belongs to
    def run(conn, *, limit: int = 100): ...

orch finds tools by reading source text. It imports a module only to run it.

Optional, beside STAGE:

    AFTER = "fetch"                  what must run before it
    ORCH = {"outputs": ["out.csv"]}  anything else that the code does not say:
                                     name, inputs, outputs, retries, timeout,
                                     tokens, max_age, always, and more
                                     (orch help tags)

The arguments of run() are injected by name:

    conn                             the database connection, in a transaction
                                     that orch commits or rolls back
    a resource of orchconf.py        whatever it provides
    any other name                   a parameter, with an option of its name

run() can return a mapping of scalars, such as {"rows": 344}, which the summary
and the history show.

The order of stages is stages = ["ingest", "render"] in [tool.orch]. Within a
stage, a tool runs after what AFTER names, and after what writes the tables and
files that it reads.

orch list -v shows why a module is not a tool.
"""
TAGS = """\
Besides run(), a module can have three top-level names. orch reads them from the
source.

    STAGE = "ingest"             the stage; ("ingest", "nightly") for several;
                                 None switches the tool off
    AFTER = "fetch"              a tool or a stage that must run before it, or
                                 several; () means none of its stage
    ORCH = {"key": value, ...}   a literal dict with any of these keys:
"""
CONFIGURATION = """\
The settings of a project are in the table [tool.orch] of pyproject.toml, or at
the top of orch.toml. None is needed. These are the defaults:
"""
TARGETS = """\
A target says what to run, watch, list or show. No target means everything.

    ingest                     a stage
    parse, pipeline.parse      a tool, by its name or any end of its module path
    src/pipeline/parse.py      a tool, by its file
    nightly                    a group of the configuration
    full                       all stages in order
    'pipeline.*'               tools whose module path matches the glob
    +parse                     parse and everything upstream of it
    parse+                     parse and everything downstream of it
    stage:render, tool:render  one of the two, where both have the name

--exclude TARGET leaves something out. Tools run in the order in which the
targets are typed. Only what was named runs: add + for what is upstream.

A word that could mean several things means the stage first, then the group,
then the tool.
"""
PARAMETERS = """\
Each argument of run() that is neither conn nor a resource is an option:

    def run(*, since: date, limit: int = 100, dry: bool = False)

    orch run --since 2024-01-31 --limit 5 --dry

Tools with a parameter of the same name share the option.

    -p since=2024-01-31        the same as --since, also where orch itself has
                               an option of that name
    -p parse.limit=5           for one tool only
    ORCH_PARAM_LIMIT=5         in the environment
    params = {limit = 5}       in [tool.orch]; [tool.orch.params.parse] for one

The command line wins over the environment, the environment over the
configuration, and the configuration over the default in run().

orch run TARGETS --help shows the parameters of the selected tools, and
orch run --dry-run -v where each value comes from.
"""
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
SKIPPED = """\
With orch run --if-busy skip, a run that is skipped because another one is in
progress exits with 0.
"""


def _exit_codes() -> str:
    rows = "".join(f"    {code:<3}  {meaning}\n" for code, meaning in EXIT_CODES.items())
    return f"{rows}\n{SKIPPED}"


def _tags() -> str:
    from discover_orch.discovery.orch_tag import RULES

    return TAGS + "".join(_entry(f'"{key}"', rule.meaning) for key, rule in RULES.items())


def _configuration() -> str:
    from discover_orch.config.meanings import configuration_rows

    return CONFIGURATION + "".join(
        _entry(f"{key} = {default}", meaning) for key, default, meaning in configuration_rows()
    )


def _entry(name: str, meaning: str) -> str:
    import textwrap

    lines = textwrap.wrap(meaning.replace("`", ""), width=72, break_long_words=False)
    return f"\n    {name}\n" + "".join(f"        {line}\n" for line in lines)


#: In the order in which they are listed: what each is about, and its text.
TOPICS: Mapping[str, tuple[str, Callable[[], str]]] = {
    "convention": ("what makes a module a tool", lambda: CONVENTION),
    "tags": ("what a module can say in STAGE, AFTER and ORCH", _tags),
    "targets": ("how to say what to run", lambda: TARGETS),
    "parameters": ("how tools get their values", lambda: PARAMETERS),
    "configuration": ("the settings of a project, and their defaults", _configuration),
    "exit-codes": ("what the exit code means", _exit_codes),
}


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
        width = max(map(len, TOPICS))
        rows = "".join(f"  {name:<{width}}  {about}\n" for name, (about, _) in TOPICS.items())
        context.console.out(
            f"Topics:\n{rows}\norch help TOPIC explains one. orch --help lists the commands.\n"
        )
    elif topic in TOPICS:
        context.console.out(_fit(TOPICS[topic][1](), context.console.out_style))
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
