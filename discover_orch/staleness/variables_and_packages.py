"""What a tool finds in its environment: variables that its code means without asking for them by name, and installed
distributions.

Imports nothing of what it finds.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, field

from discover_orch.model.keys import is_file_key, path_of
from discover_orch.model.secret_masking import find_url_passwords, is_secret_name
from discover_orch.state.sealed_files import open_nonblocking

# Variables. Code may copy the whole environment, as pydantic-settings does for it, give a copy to a child process, or
# have a library look a variable up. Then a variable counts where the code spells its name, in any case: as a word
# (`region: str` in a class of settings), or as a prefix in quotes and a word (`env_prefix="APP_"` and `region`), or
# where it looks for all names that start so (`name.startswith("APP_")`). The code includes what a child process ran of
# the project: its modules, and scripts in other languages among the files that were read. So a new terminal makes
# nothing stale.

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

#: What the names of scripts end with that read variables. One without a suffix says by `#!` that it is a script.
_SCRIPT_ENDS = (
    *(
        ".sh",
        ".bash",
        ".zsh",
        ".ksh",
        ".fish",
        ".awk",
        ".pl",
        ".py",
        ".rb",
        ".r",
        ".jl",
        ".lua",
        ".php",
    ),
    *(".js", ".cjs", ".mjs", ".ts", ".bat", ".cmd", ".ps1", ".mk", "makefile"),
)


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

    def find(
        self, names: Iterable[str], code: Mapping[str, str], other: Mapping[str, str]
    ) -> list[str]:
        """Those of these variables, less secrets, that count for a tool with this code (hashes by path) and these
        other inputs, which have the scripts that its child processes ran."""
        chosen = [
            one
            for one in dict.fromkeys(names)
            if one not in VOLATILE
            and not one.startswith(VOLATILE_PREFIXES)
            and not is_secret_name(one)
        ]
        if not chosen:
            return []
        rows = [*code.items(), *_find_scripts(other)]
        for row in rows:
            if row not in self._words:
                self._words[row] = _read_words(os.path.join(self._root, row[0]))
        found = [self._words[row] for row in rows]
        words = Words(
            all=frozenset().union(*(one.all for one in found)),
            quoted=frozenset().union(*(one.quoted for one in found)),
            starts=frozenset().union(*(one.starts for one in found)),
        )
        return [name for name in chosen if _is_spelled(name.lower(), words)]


def _find_scripts(inputs: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The files among these inputs that may be scripts, with their versions."""
    for key, version in inputs.items():
        if is_file_key(key):
            name = key[key.rfind("/") + 1 :].removeprefix("file:").lower()
            if name.endswith(_SCRIPT_ENDS) or "." not in name:
                yield path_of(key), version


def _read_words(full: str) -> Words:
    has_suffix = full.lower().endswith(_SCRIPT_ENDS)
    text = ""
    with contextlib.suppress(OSError), open(full, "rb", opener=open_nonblocking) as file:
        start = file.read(2)
        if has_suffix or start == b"#!":
            text = (start + file.read()).decode("utf-8", "replace").lower()
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


# Distributions: their versions, which top-level modules they contain, and what they require. Names are normalised (PEP
# 503). Names and versions are read from the names of `*.dist-info` and `*.egg-info`, since `importlib.metadata` takes
# 20 ms to import and reads a file for each. The first folder of `sys.path` that has a distribution counts.

_KINDS = (".dist-info", ".egg-info")
_MODULE_FILES = (".py", ".pyc", ".so", ".pyd")
_NO_EXTRAS: frozenset[str] = frozenset()
#: `name[extra] (>=1); python_version < "3.12" and extra == "all"`
_REQUIREMENT = re.compile(r"([\w.-]+)\s*(?:\[([^\]]*)\])?[^;]*(.*)")
_EXTRA = re.compile(r"extra\s*==\s*[\"']([^\"']+)")


def normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def find_versions(paths: Sequence[str]) -> dict[str, str]:
    """The version of each distribution; "" where that is not known."""
    return {name: version or _read_version(place) for name, version, place in _find(paths)}


class InstalledPackages(Struct, frozen=True, kw_only=True):
    """Those of one search path: where each distribution has its metadata, and which contain each top-level module (a
    namespace package is in several)."""

    places: Mapping[str, str] = field(default_factory=dict)
    owners: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def find_needed(self, modules: Iterable[str]) -> set[str]:
        """The distributions of these top-level modules, and all that these require, directly or not."""
        seen: set[tuple[str, frozenset[str]]] = set()
        waiting = [(name, _NO_EXTRAS) for one in modules for name in self.owners.get(one, ())]
        while waiting:
            one = waiting.pop()
            if one not in seen:
                seen.add(one)
                waiting += [
                    needed
                    for needed in _read_requirements(self.places[one[0]], one[1])
                    if needed[0] in self.places
                ]
        return {name for name, _ in seen}


def read_installed(paths: Sequence[str]) -> InstalledPackages:
    """Reads a file or two of every distribution, again only after one was installed or removed."""
    folders = tuple(dict.fromkeys(paths))
    return _read_installed(folders, tuple(map(_read_time, folders)))


@functools.lru_cache(maxsize=2)
def _read_installed(paths: tuple[str, ...], _: tuple[int | None, ...]) -> InstalledPackages:
    """Kept for these folders at these times of change."""
    places = {name: place for name, _version, place in _find(paths)}
    owners: dict[str, set[str]] = {}
    for name, place in places.items():
        for module in _read_modules(place):
            owners.setdefault(module, set()).add(name)
    return InstalledPackages(
        places=places, owners={module: frozenset(names) for module, names in owners.items()}
    )


def _read_time(folder: str) -> int | None:
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return None


def _find(paths: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """(normalised name, version or "", path) of each distribution."""
    known = set()
    for folder in dict.fromkeys(paths):
        try:
            entries = sorted(os.listdir(folder or "."))
        except OSError:  # a zip file, or a folder that does not exist
            continue
        for entry in entries:
            stem, kind = os.path.splitext(entry)
            if kind not in _KINDS:
                continue
            # foo-1.0.dist-info, foo-1.0-py3.11.egg-info, foo.egg-info
            name, _, version = stem.partition("-")
            name = normalise(name)
            if name and name not in known:
                known.add(name)
                yield name, re.sub(r"-py\d.*$", "", version), os.path.join(folder, entry)


def _read_version(place: str) -> str:
    """For an `.egg-info` without a version in its name."""
    lines = _read_lines(os.path.join(place, "PKG-INFO"))
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("Version:"))
    return next(found, "")


def _read_modules(place: str) -> set[str]:
    """The top-level modules and packages of a distribution, by its RECORD or the files that setuptools writes."""
    modules = {line.strip() for line in _read_lines(os.path.join(place, "top_level.txt"))}
    for line in _read_lines(os.path.join(place, "RECORD")):
        top, slash, _ = line.partition(",")[0].strip('"').partition("/")
        if slash:
            modules.add(top)
        elif top.endswith(_MODULE_FILES):
            modules.add(top.partition(".")[0])
    return {name for name in modules if name.isidentifier()}


def _read_requirements(place: str, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """What the distribution requires, each with the extras that it asks for. Markers about the system do not matter:
    only what is installed counts. An egg-info of setuptools lists the same in a file of its own."""
    for line in _read_lines(os.path.join(place, "METADATA")):
        if not line:
            return  # the description follows
        key, _, value = line.partition(":")
        found = _REQUIREMENT.match(value.strip()) if key == "Requires-Dist" else None
        if found and (not (asked := _EXTRA.findall(found[3])) or extras.intersection(asked)):
            words = (found[2] or "").split(",")
            yield normalise(found[1]), frozenset(one.strip() for one in words if one.strip())
    section = ""
    for line in _read_lines(os.path.join(place, "requires.txt")):
        if line[:1] == "[":
            section = line.strip("[]").partition(":")[0]
        elif (not section or section in extras) and (found := _REQUIREMENT.match(line)):
            yield normalise(found[1]), _NO_EXTRAS


def _read_lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []


def secret_variables(environ: Mapping[str, str], root: str) -> list[str]:
    """The values of secret environment variables, and the passwords of URLs in others. The path of a file, as in
    GOOGLE_APPLICATION_CREDENTIALS, is no secret: hidden, it would be missing among the files that a tool reads."""
    found = [text for name, text in environ.items() if is_secret_name(name)]
    found = [text for text in found if not os.path.exists(os.path.join(root, text))]
    return [*found, *(one for text in environ.values() for one in find_url_passwords(text))]
