"""The command that goes on after a run that did not come to its end, as the user would type it.

In: the words of the command line, and which tools are left. Out: one line, its secrets hidden. It
runs what did not pass, in the same order, with the options that were typed, but those that no tool
takes any more.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Sequence

import click

from discover_orch.cli.flags import ParamOption
from discover_orch.masking import MASK
from discover_orch.plan import Plan
from discover_orch.project import Project, masked_url
from discover_orch.registry import Registry
from discover_orch.tool import Tool, is_secret_name
from discover_orch.value import value

#: Tools are named up to this many; beyond, those to leave out may be fewer.
MOST_NAMES = 8


@value
class Typed:
    """One option with its value, as typed; `option` is what it was read as."""

    words: tuple[str, ...]
    option: click.Parameter | None = None
    value: str = ""


class Again:
    """`words` as typed behind `run`; `folder` is what `-C` said before it."""

    def __init__(
        self,
        plan: Plan,
        registry: Registry,
        project: Project,
        *,
        options: Iterable[click.Parameter],
        words: Sequence[str],
        folder: str | None,
    ) -> None:
        self._plan, self._registry, self._project = plan, registry, project
        self._typed = split_options(options, words)
        is_typed = any(_name(one) == "project" for one in self._typed)
        self._before = [] if folder is None or is_typed else ["-C", folder]

    def command(self, passed: Collection[str]) -> str:
        """The line to type when the tools in `passed` need not run again."""
        left = [step.tool for step in self._plan.steps if step.tool.module not in passed]
        if len(left) <= MOST_NAMES:
            targets = [self._word(tool) for tool in left]
            hidden = {"exclude"}
        else:
            targets = list(self._plan.words)
            done = [step.tool for step in self._plan.steps if step.tool.module in passed]
            if len(done) <= MOST_NAMES:
                targets += [word for tool in done for word in ("--exclude", self._word(tool))]
            hidden = set()
        options = [
            word
            for one in self._typed
            if _name(one) not in hidden and self._is_wanted(one, left)
            for word in self._masked(one)
        ]
        return shlex.join(["orch", *self._before, "run", *targets, *options])

    def _word(self, tool: Tool) -> str:
        """The shortest word that means this tool and no stage or group of its name."""
        stage = next((one for one in self._registry.stages if one.name == tool.name), None)
        is_alone = stage is None or stage.tools == (tool.module,)
        return (
            tool.name if is_alone and tool.name not in self._project.groups else f"tool:{tool.name}"
        )

    def _is_wanted(self, one: Typed, left: Sequence[Tool]) -> bool:
        """Whether a tool that is left takes it; orch's own options always are."""
        if isinstance(one.option, ParamOption):
            return any(tool.param(one.option.param.name) for tool in left)
        if _name(one) != "pairs":
            return True
        word, name = _key(one.value)
        takers = self._registry.names.find(word) if word else [tool.module for tool in left]
        return any(
            tool.takes_extra or tool.param(name.replace("-", "_"))
            for tool in left
            if tool.module in takers
        )

    def _masked(self, one: Typed) -> list[str]:
        if isinstance(one.option, ParamOption):
            is_secret = one.option.param.is_secret
            shown = MASK if is_secret else one.value
        elif _name(one) == "pairs":
            is_secret = is_secret_name(_key(one.value)[1])
            shown = one.value.partition("=")[0] + "=" + MASK
        else:
            is_secret = _name(one) == "database"
            shown = masked_url(one.value)
        if not is_secret or not one.value:
            return list(one.words)
        *before, last = one.words
        return [*before, last.removesuffix(one.value) + shown]


def split_options(options: Iterable[click.Parameter], words: Sequence[str]) -> list[Typed]:
    """The options among the words, each with its value; targets are left out."""
    known = {
        spelling: option
        for option in options
        for spelling in (*option.opts, *option.secondary_opts)
        if isinstance(option, click.Option)
    }
    found = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            break
        if word.startswith("--"):
            spelling, has_value, given = word.partition("=")
        elif word.startswith("-") and len(word) > 1:
            spelling, given = _short(known, word)
            has_value = given
        else:
            continue
        option = known.get(spelling)
        if not has_value and _takes_value(option):
            given = next(rest, "")
            found.append(Typed(words=(word, given), option=option, value=given))
        else:
            found.append(Typed(words=(word,), option=option, value=given))
    return found


def _short(known: dict[str, click.Option], word: str) -> tuple[str, str]:
    """Of `-qvpkey=1` the letter that takes a value, and what follows; else the last letter."""
    for place, letter in enumerate(word[1:], start=2):
        if _takes_value(known.get(f"-{letter}")):
            return f"-{letter}", word[place:].removeprefix("=")
    return f"-{word[-1]}", ""


def _takes_value(option: click.Parameter | None) -> bool:
    return isinstance(option, click.Option) and not option.is_flag and not option.count


def _name(one: Typed) -> str | None:
    return one.option.name if one.option is not None else None


def _key(text: str) -> tuple[str, str]:
    """`parse.since=...` as (`parse`, `since`)."""
    word, _, name = text.partition("=")[0].strip().rpartition(".")
    return word, name
