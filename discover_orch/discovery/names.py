"""Which tools a word names, and the shortest word that names one tool alone.

A tool is identified by its dotted module name. Any suffix of it after a dot names the tool, and so does `name` in
`ORCH`. Built once for a registry: 10,000 tools have some 40,000 words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from discover_orch.model.conventions import GLOB_CHARACTERS
from discover_orch.model.errors import Problem, did_you_mean


class ToolNames(Struct, frozen=True, kw_only=True):
    """`words`: the modules that each word could mean; `display`: the name that is shown for each module."""

    words: Mapping[str, tuple[str, ...]]
    display: Mapping[str, str]

    def find(self, word: str) -> tuple[str, ...]:
        """The modules that `word` could mean: none, one, or several where it is ambiguous."""
        if word in self.display:
            return (word,)
        return self.words.get(word, ())


def build_names(own: Iterable[tuple[str, str | None]]) -> ToolNames:
    """Built from (module, name in `ORCH` or None) of each tool."""
    tools = [(module, _words(module, name)) for module, name in own]
    words: dict[str, list[str]] = {}
    for module, spelled in tools:
        for word in spelled:
            words.setdefault(word, []).append(module)
    display = {}
    for module, spelled in tools:
        display[module] = next((word for word in spelled if len(words[word]) == 1), module)
    return ToolNames(words={word: tuple(found) for word, found in words.items()}, display=display)


def is_stage_word(name: str) -> bool:
    """Whether `orch run NAME` can mean this stage."""
    return (
        name[:1] not in ("-", "+", "")
        and not name.endswith("+")
        and not GLOB_CHARACTERS & set(name)
        and not name.startswith(("stage:", "tool:"))
        and name.isprintable()
    )


def after_targets(
    word: str, module: str, names: ToolNames, members: Mapping[str, Sequence[str]]
) -> tuple[str, ...] | Problem:
    """The tools that `word` in the `AFTER` of `module` means.

    A tool goes before a stage of the same name. The tool's own stage means the other tools of that stage.
    """
    kind, _, rest = word.partition(":")
    if kind == "stage" and rest:
        if rest in members:
            return tuple(other for other in members[rest] if other != module)
        return _nothing(word, [f"stage:{name}" for name in members])
    plain = rest if kind == "tool" and rest else word
    found = names.find(plain)
    if found == (module,) and plain is word and word in members:
        found = ()
    if len(found) == 1:
        return found
    if len(found) > 1:
        return Problem(
            code="after-ambiguous",
            message=f'AFTER names "{word}", which is ambiguous',
            hint="use one of " + ", ".join(names.display[other] for other in found),
        )
    if plain is word and word in members:
        return tuple(other for other in members[word] if other != module)
    others = [one for one in names.words if names.find(one) != (module,)]
    return _nothing(word, [*others, *members])


def _nothing(word: str, candidates: Sequence[str]) -> Problem:
    return Problem(
        code="after-unknown",
        message=f'AFTER names "{word}", which is neither a tool nor a stage',
        hint=did_you_mean(word, candidates, "orch list shows all stages and tools"),
    )


def _words(module: str, name: str | None) -> list[str]:
    """The words of a tool: its name in `ORCH` first, then the suffixes of its module, the shortest first."""
    parts = module.split(".")
    suffixes = [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]
    return suffixes if name is None or name in suffixes else [name, *suffixes]
