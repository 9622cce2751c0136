"""Commands that accept tools and their parameters: `run`, `watch`, `status` and `accept`.

The flags of the parameters are read from the source of all tools before the command line is parsed, so that
options may come before or after targets.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from discover_orch.cli.options import (
    PREFIX,
    VIEW,
    Context,
    OrchUsage,
    complete_words,
    decorated,
    exclude_option,
    targets_argument,
)
from discover_orch.cli.tool_options import (
    find_pairs,
    find_valued,
    help_rows,
    param_options,
)
from discover_orch.execution.request import Request
from discover_orch.model.errors import OrchError, ProjectError
from discover_orch.model.tool import Tool
from discover_orch.planning import project_view
from discover_orch.planning.param_values import GivenParams, KeyValue, find_arguments
from discover_orch.planning.project_view import ProjectView

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: Keys of `click.Context.meta`: the options made from parameters, and the words on the line.
DYNAMIC = "discover_orch.dynamic"
ARGS = "discover_orch.args"


class ToolsCommand(click.Command):
    """A command whose options depend on the project."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        context = ctx.ensure_object(Context)
        context.folder = self._find_folder(ctx, args) or context.folder
        wants_help = bool({"-h", "--help"} & set(_before_dashes(args)))
        try:
            view = context.read_project(reads_code=not (wants_help or ctx.resilient_parsing))
        except ProjectError:
            if wants_help or ctx.resilient_parsing:
                return super().parse_args(ctx, args)
            raise
        ctx.meta[VIEW] = view
        ctx.meta[ARGS] = list(args)
        words = None if ctx.resilient_parsing else args  # a word to complete is not whole yet
        tools = view.registry.by_tool.tools.values()
        ctx.meta[DYNAMIC] = param_options(
            tools, self.own_spellings(ctx), words, view.registry.item_values
        )
        return super().parse_args(ctx, args)

    def _find_folder(self, ctx: click.Context, args: list[str]) -> str | None:
        """The DIR of a `-C DIR` after the command: the other words mean something in that project only."""
        parsed = self._parse(ctx, args, ignore_unknown_options=True)
        folder: str | None = parsed.get("project")
        return folder

    def _parse(self, ctx: click.Context, args: Sequence[str], **settings: Any) -> dict[str, Any]:
        """The values of the options as far as they are known now, as texts; none if they are wrong."""
        own = click.Context(
            self,
            info_name=ctx.info_name,
            resilient_parsing=True,
            help_option_names=ctx.help_option_names,
            **settings,
        )
        own.meta[DYNAMIC] = ctx.meta.get(DYNAMIC, ())
        try:
            return self.make_parser(own).parse_args(args=list(args))[0]
        except (click.ClickException, TypeError):
            return {}

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *ctx.meta.get(DYNAMIC, ())]

    def own_spellings(self, ctx: click.Context) -> set[str]:
        """Spellings of orch's own options, which win over a parameter of the same name."""
        own = super().get_params(ctx)
        return {one for param in own for one in (*param.opts, *param.secondary_opts)}

    def chosen_tools(
        self,
        ctx: click.Context,
        view: ProjectView,
        args: Sequence[str],
    ) -> list[Tool]:
        """The tools that the words on the line select; none if the words are wrong."""
        values = self._parse(ctx, args)
        try:
            words, exclude = _words(values["targets"]), _words(values.get("exclude"))
            registry = view.registry.by_tool
            selection = project_view.select_targets(
                replace(view, registry=registry), words, exclude
            )
        except (OrchError, KeyError):
            return []
        return [registry.tools[module] for module in selection.tools]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Completes the flags of the tools selected so far only, each in one spelling."""
        found = super().shell_complete(ctx, incomplete)
        view: ProjectView | None = ctx.meta.get(VIEW)
        if view is None:
            return found
        chosen = self.chosen_tools(ctx, view, ctx.meta.get(ARGS, []))
        names = {param.name for tool in chosen for param in tool.params}
        hidden: set[str] = set()
        for option in ctx.meta.get(DYNAMIC, ()):
            spellings = [*option.opts, *option.secondary_opts]
            is_wanted = option.param.name in names or not chosen
            hidden.update(one for one in spellings if not is_wanted or "_" in one)
        return [item for item in found if item.value not in hidden]

    def complete_pair(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Completes the value of `-p`, for the tools selected so far, or for all."""
        view: ProjectView | None = ctx.meta.get(VIEW)
        if view is None:
            return []
        words = ctx.meta[ARGS][:-1]  # without the -p itself
        tools = self.chosen_tools(ctx, view, words) or view.registry.by_tool.tools.values()
        return complete_words(find_pairs(tools, incomplete))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The parameters of the selected tools, tool by tool, then orch's own options."""
        view: ProjectView | None = ctx.meta.get(VIEW)
        if view is not None:
            taken = self.own_spellings(ctx)
            valued = find_valued(view.registry.by_tool.tools.values())
            for tool in self.chosen_tools(ctx, view, ctx.meta.get(ARGS, [])):
                in_force = find_arguments(tool, view.registry, view.project, GivenParams())
                items = view.registry.item_params(tool.module)
                rows = help_rows(tool, taken, in_force, valued, items)
                if rows:
                    with formatter.section(f"Parameters of {tool.name}"):
                        formatter.write_dl(rows)
        dynamic = ctx.meta.pop(DYNAMIC, ())
        super().format_options(ctx, formatter)
        ctx.meta[DYNAMIC] = dynamic


class _Pair(click.ParamType):  # type: ignore[type-arg]
    """The type of `-p`."""

    name = "pair"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> KeyValue:
        key, found, text = str(value).partition("=")
        if not found or not key.strip():
            message = f"-p {value}: expected KEY=VALUE"
            raise OrchUsage(message, "for example: -p since=2024-01-31")
        tool, _, name = key.strip().rpartition(".")
        return KeyValue(tool=tool or None, name=name, text=text)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        assert isinstance(ctx.command, ToolsCommand)
        return ctx.command.complete_pair(ctx, incomplete)


def tools_arguments(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments and options that choose tools and set their parameters, for a `ToolsCommand`.

    `command` is called with the `Context`, the project, the `Request` that these make, and its own options as
    keywords. Those of `display_options` are one `DisplayOptions`, `shown`.
    """

    @functools.wraps(command)
    def call(
        *,
        targets: tuple[str, ...],
        exclude: tuple[str, ...],
        pairs: tuple[KeyValue, ...],
        database: str | None,
        **given: Any,
    ) -> Any:
        ctx = click.get_current_context()
        view: ProjectView = ctx.meta[VIEW]
        typed = {name: given.pop(name) for name in [*given] if name.startswith(PREFIX)}
        options = {
            name.removeprefix(PREFIX): value if isinstance(value, tuple) else (str(value).lower(),)
            for name, value in typed.items()
            if value not in (None, ())
        }
        values = GivenParams(options=options, pairs=pairs, folder=view.folder)
        request = Request(targets=targets, exclude=exclude, values=values, database=database)
        if "output" in given:
            from discover_orch.render.run import DisplayOptions

            own = {name: given.pop(name) for name in ("output", "quiet", "verbose", "as_json")}
            given["shown"] = DisplayOptions(**own)
        return command(ctx.obj, view, request, **given)

    return decorated(
        call,
        click.option(
            "--database",
            metavar="URL",
            help="The database to connect to, e.g. sqlite:///data.db.",
        ),
        click.option(
            "-p",
            "--param",
            "pairs",
            multiple=True,
            type=_Pair(),
            metavar="KEY=VALUE",
            help="Set a parameter: since=2024-01-31, or parse.since=2024-01-31 for one tool only.",
        ),
        exclude_option,
        targets_argument,
    )


def _before_dashes(args: Sequence[str]) -> list[str]:
    return list(args[: args.index("--")]) if "--" in args else list(args)


def _words(value: object) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, tuple | list) else ()
