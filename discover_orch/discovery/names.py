"""Words for tools: which tool a word names, and the shortest word that names one alone.

A tool's identity is its dotted module path. Any suffix of it at a dot names it, and so does what `ORCH`
calls it. Pure; built once for a registry, since 10,000 tools have some 40,000 words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from discover_orch.model.conventions import GLOB_CHARACTERS
from discover_orch.model.errors import Problem, nearest


class ToolNames(Struct, frozen=True, kw_only=True):
    """`words` leads from each word to the identities that it could mean; `display` from each to its name."""

    words: Mapping[str, tuple[str, ...]]
    display: Mapping[str, str]

    def find(self, word: str) -> tuple[str, ...]:
        """The identities that `word` could mean: none, one, or several where it is ambiguous."""
        if word in self.display:
            return (word,)
        return self.words.get(word, ())


def build_names(own: Iterable[tuple[str, str | None]]) -> ToolNames:
    """From (module path, name from `ORCH` or None) of each tool."""
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
    """Whether `orch run NAME` could be typed and mean this stage."""
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
    """The tools that `word` in an `AFTER` of `module` means.

    A tool wins over a stage of its name; the tool's own stage, or own name, means the others of the stage.
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
            message=f'AFTER names "{word}", which could be several tools',
            hint="write one of " + ", ".join(names.display[other] for other in found),
        )
    if plain is word and word in members:
        return tuple(other for other in members[word] if other != module)
    return _nothing(word, [*names.words, *members])


def _nothing(word: str, candidates: Sequence[str]) -> Problem:
    close = nearest(word, candidates)
    return Problem(
        code="after-unknown",
        message=f'AFTER names "{word}", which is neither a tool nor a stage',
        hint=f'did you mean "{close}"?' if close else "orch list shows the names of all",
    )


def _words(module: str, name: str | None) -> list[str]:
    """From the shortest to the whole path, the given name first."""
    parts = module.split(".")
    suffixes = [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]
    return suffixes if name is None or name in suffixes else [name, *suffixes]
