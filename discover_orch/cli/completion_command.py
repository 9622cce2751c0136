"""`orch completion`: the line that switches on completion, which click makes."""

from __future__ import annotations

import click

from discover_orch.cli.options import Context, common_options
from discover_orch.model.errors import ExitCode

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
def command(context: Context, shell: str) -> int:
    """Print the line that switches on completion in a shell. Add it to the start-up file of the shell.

    The shell then completes commands, targets, options, parameters of the chosen tools and numbers
    of runs.
    """
    file, line = COMPLETION_LINES[shell]
    context.console.out(f"# add this to {file}\n{line}\n")
    return ExitCode.OK
