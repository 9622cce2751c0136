"""Command-line flags made from the parameters of tools: parsing, help and completion.

The click options made here only collect texts. `planning.param_values` chooses and checks values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from discover_orch.cli.options import PREFIX, complete_path, complete_words
from discover_orch.model.database_url import masked_url
from discover_orch.model.parameter import Choice, EnumChoice, Param, Scalar
from discover_orch.model.tool import Tool
from discover_orch.render.style import one_line

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from discover_orch.planning.param_values import BoundArgument


class ParamOption(click.Option):
    """`--since VALUE` or `--dry/--no-dry`. Its texts are in `ctx.params` under `param:NAME`."""

    def __init__(
        self,
        param: Param,
        declarations: Sequence[str],
        find_values: Callable[[str], Sequence[str]],
        *,
        is_flag: bool,
    ) -> None:
        self.param, self._find_values = param, find_values
        kind: dict[str, Any] = {"is_flag": True} if is_flag else {"multiple": True, "type": str}
        super().__init__(
            [f"param_{param.name}", *declarations], default=None, expose_value=True, **kind
        )
        self.name = PREFIX + param.name

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        if values := self._find_values(self.param.name):
            return complete_words(dict.fromkeys(values, ""), incomplete)
        if self.param.type.base == Scalar(kind="path"):
            return complete_path(incomplete, "file")
        return complete_words(dict.fromkeys(choices(self.param), ""), incomplete)


def find_valued(tools: Iterable[Tool]) -> set[str]:
    """The parameters whose option takes a value. One that is a flag in a tool does so too where it is none in another:
    `--wide true`."""
    return {one.name for tool in tools for one in tool.params if not one.type.is_flag}


def param_options(
    tools: Iterable[Tool],
    taken: set[str],
    words: Iterable[str] | None,
    find_values: Callable[[str], Sequence[str]] = lambda _: (),
) -> list[ParamOption]:
    """One option for each parameter name, except those in `taken`, the spellings of orch's own options.

    With the `words` of a command line, only the options among them are made, since making hundreds is slow. If one of
    the words is not an option, all are made, so that the error can name the nearest. `find_values` gives the values of
    items for the name of a parameter.
    """
    owned, tools = {"--", *taken}, list(tools)
    valued = find_valued(tools)
    seen: set[str] = set()
    found: list[tuple[list[str], Callable[[], ParamOption]]] = []
    for param in (param for tool in tools for param in tool.params):
        if param.name in seen:
            continue
        seen.add(param.name)
        is_flag = param.name not in valued
        spellings = _spellings(param, is_flag=is_flag)
        free = [one for one in spellings if owned.isdisjoint(one.split("/"))]
        flags = [word for one in free for word in one.split("/")]
        if param.flag not in flags:
            continue
        owned.update(flags)
        found.append((flags, partial(ParamOption, param, free, find_values, is_flag=is_flag)))
    wanted = owned if words is None else {one.partition("=")[0] for one in words if one[:2] == "--"}
    has_all = not wanted <= owned
    return [make() for flags, make in found if has_all or not wanted.isdisjoint(flags)]


def choices(param: Param) -> list[str]:
    """The values that are allowed, if they are few and named."""
    match param.type.base:
        case Choice(values=values):
            return [str(value) for value in values]
        case EnumChoice(members=members):
            return [value for _, value in members]
        case _:
            return []


def find_pairs(tools: Iterable[Tool], start: str) -> dict[str, str]:
    """What `-p` takes and begins like this, with the help of each: `since=` and, where the name of a tool is typed,
    `parse.since=`. With `kind=` typed these are the values, where few are allowed."""
    name, equals, _ = start.partition("=")
    typed = name.rpartition(".")[0]
    found: dict[str, str] = {}
    for tool in tools:
        for param in tool.params:
            key = f"{tool.name}.{param.name}" if typed else param.name
            pairs = [key + "="] if not equals else [f"{key}={one}" for one in choices(param)]
            found |= {one: one_line(param.help) for one in pairs if one.startswith(start)}
    return found


def help_rows(
    tool: Tool,
    taken: set[str],
    in_force: Sequence[BoundArgument] = (),
    valued: Collection[str] = (),
    items: Collection[str] = (),
) -> list[tuple[str, str]]:
    """(`--since DATE`, what it is) for each parameter of one tool.

    `in_force` are the values that the configuration and the environment give; `valued` as of `find_valued`; `items`
    are the parameters that select items.
    """
    given = {bound.param.name: bound for bound in in_force}
    rows = []
    for param in tool.params:
        is_flag = param.type.is_flag and param.name not in valued
        kind = "" if is_flag else f" {_metavar(param)}"
        flag = param.flag + (f"/--no-{param.flag[2:]}" if is_flag else "")
        has_option = param.flag not in taken
        if not has_option:
            flag, kind = f"-p {param.name}=VALUE", ""
        notes = [one_line(param.help)] if param.help else []
        if param.type.many:
            notes.append("(can be given several times)")
        if param.name in items:
            kind += " ..."
            notes.append("only these items: a value, a range A..B, or a glob  [default: all]")
        elif param.name in given:
            bound = given[param.name]
            notes.append(f"[default: {one_line(masked_url(bound.shown))}, from {bound.origin}]")
        else:
            notes.append(
                "[required]" if param.required else _default(param, is_flag=is_flag and has_option)
            )
        rows.append((flag + kind, "  ".join(note for note in notes if note)))
    if not tool.is_readable:
        rows.append(("-p KEY=VALUE", "the signature of run() cannot be read from the source"))
    elif tool.takes_extra:
        rows.append(("-p KEY=VALUE", "any other value, for **kwargs"))
    return rows


def _metavar(param: Param) -> str:
    words = choices(param)
    text = one_line("[" + "|".join(words) + "]") if words else str(param.type.base.kind).upper()  # type: ignore[union-attr]
    return f"{text} ..." if param.type.many else text


def _default(param: Param, *, is_flag: bool) -> str:
    """That of a flag is one of its two words."""
    if param.default_source in (None, "None") or param.default == []:
        return ""
    text = one_line(param.shown_default)
    if is_flag and isinstance(param.default, bool):
        text = param.flag if param.default else f"--no-{param.flag[2:]}"
    if not text.strip():
        text = f"'{text}'"
    return f"[default: {text}]"


def _spellings(param: Param, *, is_flag: bool) -> list[str]:
    """With dashes and with underscores; the spelling for the help comes first."""
    names = list(dict.fromkeys([param.name.replace("_", "-"), param.name]))
    return [f"--{name}/--no-{name}" if is_flag else f"--{name}" for name in names]
