"""Which environment variables the project's own code means where it does not ask for them by name: where it copies the
whole environment, as pydantic-settings does for it, or has a library look a variable up.

A variable counts where the code spells its name, in any case: as a word (`region: str` in a class of settings), or as
a prefix in quotes and a word (`env_prefix="APP_"` and `region`), or where it looks for all names that start so
(`name.startswith("APP_")`). So a new terminal makes nothing stale.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

from msgspec import Struct

from discover_orch.model.parameter import is_secret_name

#: What describes the terminal, the session and the user; and how the names of such variables begin.
VOLATILE = frozenset(
    [
        *("PATH", "HOME", "USER", "PWD", "SHELL", "TERM", "LANG", "COLUMNS", "LINES", "_"),
        *("SHLVL", "OLDPWD", "LOGNAME", "MAIL", "HOSTNAME", "DISPLAY", "WINDOWID", "COLORTERM"),
    ]
)
VOLATILE_PREFIXES = (
    *("DBUS_", "GITHUB_", "GNOME_", "KONSOLE_", "LC_", "ORCH_", "RUNNER_", "SSH_", "TERM_"),
    *("TMUX", "VSCODE_", "WAYLAND_", "XDG_"),
)
_WORD = re.compile(r"\w+")
_QUOTED = re.compile(r"[\"'](\w+?)_*[\"']")
_START = re.compile(r"(?:startswith|removeprefix)\(\s*\(?\s*[\"'](\w+)[\"']")


class Words(Struct, frozen=True, kw_only=True):
    """Of a text, in small letters: the words; those that stand alone in quotes, without underscores at the end; the
    starts of names that it looks for."""

    all: frozenset[str] = frozenset()
    quoted: frozenset[str] = frozenset()
    starts: frozenset[str] = frozenset()


class SpelledNames:
    """Reads code of the project as text, each file once while it means the same."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._words: dict[tuple[str, str], Words] = {}  # by the path and the hash

    def find(self, names: Iterable[str], code: Mapping[str, str]) -> list[str]:
        """Those of these variables, less secrets, that count for a tool with this code (hashes by path)."""
        chosen = [
            one
            for one in dict.fromkeys(names)
            if one not in VOLATILE
            and not one.startswith(VOLATILE_PREFIXES)
            and not is_secret_name(one)
        ]
        if not chosen:
            return []
        for row in code.items():
            if row not in self._words:
                self._words[row] = _read_words(os.path.join(self._root, row[0]))
        found = [self._words[row] for row in code.items()]
        words = Words(
            all=frozenset().union(*(one.all for one in found)),
            quoted=frozenset().union(*(one.quoted for one in found)),
            starts=frozenset().union(*(one.starts for one in found)),
        )
        return [name for name in chosen if _is_spelled(name.lower(), words)]


def _read_words(full: str) -> Words:
    try:
        with open(full, "rb") as file:
            text = file.read().decode("utf-8", "replace").lower()
    except OSError:
        text = ""
    return Words(
        all=frozenset(_WORD.findall(text)),
        quoted=frozenset(_QUOTED.findall(text)),
        starts=frozenset(_START.findall(text)),
    )


def _is_spelled(name: str, words: Words) -> bool:
    if name in words.all or name.startswith(tuple(words.starts)):
        return True
    # A prefix ends before an underscore. Two of them stand between the names of nested settings.
    ends = (place for place, letter in enumerate(name) if letter == "_")
    return any(
        name[:end] in words.quoted and words.all.issuperset(name[end + 1 :].split("__"))
        for end in ends
    )
