"""Words for tools: which tool a word names, and the shortest word that names one alone.

A tool's identity is its dotted module path. Any suffix of it at a dot names it, and so does what `ORCH`
calls it. Pure; built once for a registry, since 10,000 tools have some 40,000 words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct


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


def _words(module: str, name: str | None) -> list[str]:
    """From the shortest to the whole path, the given name first."""
    parts = module.split(".")
    suffixes = [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]
    return suffixes if name is None or name in suffixes else [name, *suffixes]
