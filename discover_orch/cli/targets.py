"""Words on the command line that name tools: how a shell completes them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from discover_orch.model.errors import OrchError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class TargetType(click.ParamType):  # type: ignore[type-arg]
    """A stage, tool, group, file or glob; what it means is decided by `selection`."""

    name = "target"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Reads source only. A broken project completes nothing, and says nothing."""
        from click.shell_completion import CompletionItem

        from discover_orch.planning import project_reader, selection

        context: Any = ctx.find_root().obj
        try:
            view = project_reader.read_project(
                os.getcwd(), getattr(context, "folder", None), os.environ
            )
        except (OrchError, OSError):
            return []
        if "/" in incomplete:
            return [CompletionItem(incomplete, type="file")]
        plus = "+" if incomplete.startswith("+") else ""
        start = incomplete.removeprefix("+")
        found: dict[str, str] = {}
        for word, what in selection.completions(view.registry, forced=":" in start):
            if word.startswith(start):
                found.setdefault(plus + word, what)
        return [CompletionItem(word, help=what) for word, what in found.items()]


TARGETS = TargetType()


def all_fresh_text(count: int) -> str:
    """What `orch run --changed` says where it has nothing to do."""
    tools = "the tool is" if count == 1 else f"all {count:,} tools are"
    return f"nothing to do: {tools} fresh\n"
