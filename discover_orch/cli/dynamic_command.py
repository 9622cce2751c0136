"""Commands that take tools and their parameters: `run` and `watch`.

The flags of parameters exist before the line is parsed: they are read from the source of all tools, so that
options may stand before or after targets.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from discover_orch.cli.app import Context, OrchUsage
from discover_orch.cli.targets import TARGETS
from discover_orch.cli.tool_options import (
    ParamOption,
    given_options,
    help_rows,
    mixed_names,
    param_options,
)
from discover_orch.model.errors import OrchError, ProjectError, UsageError
from discover_orch.model.tool import Tool
from discover_orch.planning import project_reader, project_view
from discover_orch.planning.arguments import (
    MISSING,
    GivenParams,
    KeyValue,
    bind_arguments,
    find_unused,
)
from discover_orch.planning.project_view import ProjectView

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

VIEW = "discover_orch.view"
DYNAMIC = "discover_orch.dynamic"
ARGS = "discover_orch.args"


class ToolsCommand(click.Command):
    """A command whose options depend on the project."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        context = ctx.ensure_object(Context)
        context.folder = _folder(args) or context.folder
        wants_help = bool({"-h", "--help"} & set(_before_dashes(args)))
        try:
            view = project_reader.read_project(context.start, context.folder, os.environ)
        except ProjectError:
            if wants_help or ctx.resilient_parsing:
                return super().parse_args(ctx, args)
            raise
        ctx.meta[VIEW] = view
        ctx.meta[ARGS] = list(args)
        ctx.meta[DYNAMIC] = self._dynamic(ctx, view, list(args))
        try:
            return super().parse_args(ctx, args)
        except click.BadParameter as error:
            raise _with_own_name(error, view) from None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *ctx.meta.get(DYNAMIC, ())]

    def own_spellings(self, ctx: click.Context) -> set[str]:
        """Of orch's own options, which always win over a parameter of that name."""
        own = super().get_params(ctx)
        return {one for param in own for one in (*param.opts, *param.secondary_opts)}

    def _dynamic(self, ctx: click.Context, view: ProjectView, args: list[str]) -> list[ParamOption]:
        tools = list(view.registry.tools.values())
        taken = self.own_spellings(ctx)
        as_flags: dict[str, bool] = {}
        words = None if ctx.resilient_parsing else args  # what is completed is not there yet
        for name, (flags, values) in mixed_names(tools).items():
            # What the word after it means depends on the tools, and these are found among the words:
            # of the two readings the one holds whose own tools take the option so.
            mixed: tuple[Tool, Tool] | None = None
            holds = {}
            for is_flag in (True, False):
                options = param_options(tools, taken, {**as_flags, name: is_flag}, words)
                chosen = self.chosen_tools(ctx, view, args, options)
                takes_none = [tool for tool in flags if tool in chosen]
                takes_value = [tool for tool in values if tool in chosen]
                if takes_none and takes_value:
                    mixed = takes_none[0], takes_value[0]
                wanted, unwanted = takes_none, takes_value
                if not is_flag:
                    wanted, unwanted = unwanted, wanted
                holds[is_flag] = bool(wanted) and not unwanted
            if mixed and not any(holds.values()) and _is_given(name, args):
                flag = "--" + name.replace("_", "-")
                raise OrchUsage(
                    f"{flag} is a flag for {mixed[0].name} and takes a value for {mixed[1].name}",
                    f"give it to one: -p {mixed[1].name}.{name}=VALUE",
                )
            as_flags[name] = holds[True]
        return param_options(tools, taken, as_flags, words)

    def chosen_tools(
        self,
        ctx: click.Context,
        view: ProjectView,
        args: Sequence[str],
        options: Sequence[ParamOption] | None = None,
    ) -> list[Tool]:
        """The tools that the words on the line choose; none where that cannot be told."""
        dynamic = ctx.meta.get(DYNAMIC, ()) if options is None else options
        parser_ctx = click.Context(self, info_name=ctx.info_name, resilient_parsing=True)
        parser_ctx.meta[DYNAMIC] = dynamic
        try:
            values, _, _ = self.make_parser(parser_ctx).parse_args(args=list(args))
            words, exclude = _words(values.get("targets")), _words(values.get("exclude"))
            selection = project_view.select_targets(view, words, exclude)
        except (OrchError, click.ClickException, TypeError):
            return []
        return [view.registry.tools[module] for module in selection.tools]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Of the parameters those of the tools that are chosen already, each in one spelling."""
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

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The parameters of exactly the selected tools, tool by tool, then orch's own options."""
        view: ProjectView | None = ctx.meta.get(VIEW)
        if view is not None:
            taken = self.own_spellings(ctx)
            for tool in self.chosen_tools(ctx, view, ctx.meta.get(ARGS, [])):
                rows = help_rows(tool, taken)
                if rows:
                    with formatter.section(f"Parameters of {tool.name}"):
                        formatter.write_dl(rows)
        dynamic = ctx.meta.pop(DYNAMIC, ())
        super().format_options(ctx, formatter)
        ctx.meta[DYNAMIC] = dynamic


def tools_arguments(command: Any) -> Any:
    """The words and options by which tools and the values of their parameters are given."""
    for add in (
        click.option("--database", metavar="URL", help="The database for conn."),
        click.option(
            "-p",
            "--param",
            "pairs",
            multiple=True,
            metavar="KEY=VALUE",
            help="A parameter: since=2024-01-31, or parse.since=... for one tool.",
        ),
        click.option(
            "--exclude", multiple=True, metavar="TARGET", type=TARGETS, help="Leave these out."
        ),
        click.argument("targets", nargs=-1, type=TARGETS),
    ):
        command = add(command)
    return command


def read_values(
    view: ProjectView,
    targets: Sequence[str],
    exclude: Sequence[str],
    pairs: Sequence[str],
    params: Mapping[str, Any],
) -> GivenParams:
    """What was given for parameters; refused where no selected tool takes it."""
    values = GivenParams(
        options=given_options(params),
        given=tuple(_pair(text) for text in pairs),
        folder=view.folder,
    )
    _refuse_unselected(view, targets, exclude, values)
    return values


def refuse_wrong(view: ProjectView, chosen: Collection[str], values: GivenParams) -> None:
    """A value that a chosen tool cannot convert, or that none takes, as `orch run` would refuse it; one that is
    missing is no matter."""
    tools = [view.registry.tools[module] for module in view.registry.order if module in chosen]
    problems = find_unused(values, tools, view.registry)
    for module in view.registry.order:
        if module in chosen:
            bind_arguments(
                view.registry.tools[module], view.registry, view.project, values, problems
            )
    wrong = [problem for problem in problems if problem.code != MISSING]
    if wrong:
        raise UsageError(*wrong)


def _refuse_unselected(
    view: ProjectView, targets: Sequence[str], exclude: Sequence[str], values: GivenParams
) -> None:
    """An option that only unselected tools take would be lost silently."""
    if not values.options:
        return
    chosen = {*project_view.select_targets(view, targets, exclude).tools}
    for name in values.options:
        takers = [tool for tool in view.registry.tools.values() if tool.param(name)]
        if not any(tool.module in chosen for tool in takers):
            place = {module: at for at, module in enumerate(view.registry.order)}
            takers.sort(key=lambda tool: place[tool.module])
            names = ", ".join(tool.name for tool in takers)
            verb = "takes" if len(takers) == 1 else "take"
            raise OrchUsage(
                f"no selected tool takes --{name.replace('_', '-')}",
                f"{names} {verb} it; add the tool to the targets, or leave the option out",
            )


def _with_own_name(error: click.BadParameter, view: ProjectView) -> click.BadParameter | OrchUsage:
    """The value may be meant for a parameter whose name is that of an option of orch's own."""
    name = error.param.name if error.param else None
    takers = [tool.name for tool in view.registry.tools.values() if name and tool.param(name)]
    if not takers:
        return error
    message = error.format_message()
    return OrchUsage(
        message[:1].lower() + message[1:].rstrip("."),
        f"this is an option of orch's own; the parameter of {takers[0]} is given as -p {name}=VALUE",
    )


def _pair(text: str) -> KeyValue:
    key, found, value = text.partition("=")
    if not found or not key.strip():
        raise OrchUsage(
            f"-p {text}: there is no KEY=VALUE in it", "for example -p since=2024-01-31"
        )
    tool, _, name = key.strip().rpartition(".")
    return KeyValue(tool=tool or None, name=name, text=value)


def _folder(args: Sequence[str]) -> str | None:
    """`-C DIR` behind the command, which decides what the other words mean."""
    folder = None
    words = iter(_before_dashes(args))
    for word in words:
        if word == "--project":
            folder = next(words, folder)
        elif word.startswith("--project="):
            folder = word.removeprefix("--project=")
        elif word[:1] == "-" and word[:2] != "--":
            # Short options may stand together, -nC .. or -nC..; of those, C and p take a value.
            at = next((at for at, letter in enumerate(word) if letter in "Cp"), None)
            if at is not None:
                value = word[at + 1 :] or next(words, "")
                folder = value if word[at] == "C" and value else folder
    return folder


def _before_dashes(args: Sequence[str]) -> list[str]:
    return list(args[: args.index("--")]) if "--" in args else list(args)


def _is_given(name: str, args: Sequence[str]) -> bool:
    spellings = {f"--{name}", "--" + name.replace("_", "-")}
    return any(word.split("=", 1)[0] in spellings for word in args)


def _words(value: object) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, tuple | list) else ()
