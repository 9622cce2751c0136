"""The type of options that take a count, such as `--jobs`."""

from __future__ import annotations

from typing import Any

import click


class NotAWholeNumber(click.BadParameter):
    """Says all by itself, where click would begin with `Invalid value for`."""

    def format_message(self) -> str:
        return self.message


class WholeNumber(click.IntRange):
    """A whole number from 1."""

    def __init__(self) -> None:
        super().__init__(min=1)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            name = param.opts[-1] if param else "the value"
            message = f"{name} must be a whole number, 1 or more, not {value}"
            raise NotAWholeNumber(message, ctx, param) from None
