"""Options for the values of items of commands about what was, `history`, `logs` and `clean`: `--day 2026-01-13`.

They are compared as texts: an item that is no more has no tool that could read them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import click

from discover_orch.cli.options import PREFIX, complete_words, read_for_completion

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: The key of `click.Context.meta`: the options that were made.
_OPTIONS = "discover_orch.item_options"


class ItemOption(click.Option):
    """`--day VALUE`. Its texts are in `ctx.params` under `param:NAME`."""

    def __init__(self, flag: str) -> None:
        name = flag.removeprefix("--").replace("-", "_")
        super().__init__([f"param_{name}", flag], multiple=True, hidden=True)
        self.name, self.flag = PREFIX + name, flag

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        view = read_for_completion(ctx)
        values = view.registry.item_values((self.name or "").removeprefix(PREFIX)) if view else ()
        return complete_words(dict.fromkeys(values, ""), incomplete)


class ItemsCommand(click.Command):
    """A command that takes any long option, and says with `check_options` which of them there are."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {one for param in super().get_params(ctx) for one in param.opts}
        before = args[: args.index("--")] if "--" in args else args
        words = [one.partition("=")[0] for one in before if one.startswith("--")]
        if ctx.resilient_parsing and (view := read_for_completion(ctx)) is not None:
            registry = view.registry
            names = {name for module in registry.steps for name in registry.item_params(module)}
            words += sorted(f"--{name.replace('_', '-')}" for name in names)
        flags = dict.fromkeys(one for one in words if len(one) > 2 and one not in own)
        ctx.meta[_OPTIONS] = [*map(ItemOption, flags)]
        try:
            return super().parse_args(ctx, args)
        except click.BadOptionUsage as error:  # without a value: most probably it is misspelled
            if error.option_name in flags:
                raise _no_such_option(ctx, error.option_name, ()) from None
            raise

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *ctx.meta.get(_OPTIONS, ())]


def take_values(given: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """The texts that were given for the parameters of items, by name."""
    names = [name for name in given if name.startswith(PREFIX)]
    return {name.removeprefix(PREFIX): given.pop(name) for name in names}


def check_options(names: Collection[str], known: Collection[str]) -> None:
    """Raises NoSuchOption for the first of these names that is not a `known` parameter of items."""
    for name in names:
        if name not in known:
            flags = [f"--{one.replace('_', '-')}" for one in known]
            raise _no_such_option(click.get_current_context(), f"--{name.replace('_', '-')}", flags)


def _no_such_option(ctx: click.Context, flag: str, known: Sequence[str]) -> click.NoSuchOption:
    params = (one for one in ctx.command.get_params(ctx) if not isinstance(one, ItemOption))
    own = [one for param in params for one in param.opts]
    return click.NoSuchOption(flag, possibilities=[*own, *known], ctx=ctx)
