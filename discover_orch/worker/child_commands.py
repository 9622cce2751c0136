"""What the command lines of child processes name: project code, folders, files, and those that are not there.

No event shows which code a child process loads, and the kernel's events do not show what it looks for in vain. Its
command line often says both. A word counts only where it names something of the project, so a word too many costs
nothing. Shell scripts that a command line names are read in the same way.
"""

from __future__ import annotations

import os
import re
import stat

from discover_orch.model.conventions import GLOB_CHARACTERS
from discover_orch.model.observation import ChildCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from discover_orch.worker.observed_paths import ObservedPaths

MOST_COMMANDS = 1_000  # of one step
LARGEST_SCRIPT = 100_000  # bytes
SHELL_SUFFIXES = (".sh", ".bash", ".zsh", ".ksh")
_OPERATORS = frozenset([";", "&&", "||", "|", "&", "(", ")"])
_SHELL_COMMAND = re.compile(r"-[a-z]*c")
_PYTHON = re.compile(r"(?:python|pypy)[\d.]*w?")
_IMPORT = re.compile(r"\b(?:from|import)\s+([A-Za-z_][\w.]*)")
_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
#: What a path in a command line looks like. A name alone has a suffix, else any word would be one.
_PATH = re.compile(r"[^\s$`|;&<>(){}\"'*?]*(?:/[^\s$`|;&<>(){}\"'*?]*|\.\w{1,10})")
#: What may be a path somewhere in a word, as in `out=x.csv` and in the text of a program or of a query.
_PART = re.compile(r"[^\s'\"`=,;()\[\]{}|&<>]+")

#: The words, the working directory as it was given, and PYTHONPATH.
_Command = tuple[tuple[str, ...], str, str]


class ChildCommands:
    """The command lines of one step: `note` them as they come, `read` them when the step has ended."""

    def __init__(self, paths: ObservedPaths) -> None:
        self._paths = paths
        self._noted: dict[_Command, None] = {}
        #: What the command lines name. Paths are absolute where nothing else is said.
        self.code: dict[ChildCode, None] = {}
        #: Relative to the root: whatever may be a path, also where output is redirected to.
        self.named: set[str] = set()
        self.folders: dict[str, None] = {}
        self.globs: dict[str, None] = {}
        self.absent: dict[str, None] = {}
        self._texts_read: set[str] = set()

    def note(self, words: Any, folder: Any = None, environment: Any = None) -> None:
        """A process is about to be started with these words, as Python gives them to the system."""
        if len(self._noted) >= MOST_COMMANDS:
            return
        texts = [words] if isinstance(words, (str, bytes, os.PathLike)) else [*words]
        cwd = os.path.join(os.getcwd(), "" if folder is None else os.fsdecode(folder))
        if environment is None:
            path = os.environ.get("PYTHONPATH", "")
        else:
            path = environment.get("PYTHONPATH") or environment.get(b"PYTHONPATH") or ""
        self._noted[tuple(map(os.fsdecode, texts)), cwd, os.fsdecode(path)] = None

    def read(self) -> None:
        """Find what the noted command lines name."""
        for words, cwd, path in self._noted:
            folders = tuple(os.path.join(cwd, one) for one in path.split(os.pathsep) if one)
            self._read_words(words, os.path.normpath(cwd), folders)
        self._noted.clear()

    def find_named_scripts(self, opened: Iterable[str]) -> None:
        """Add those of these Python files, which some process has opened, that the text of a script names."""
        waiting = [one.path for one in self.code if one.path]
        rest = {path: os.path.basename(path).encode() for path in opened}
        while waiting and rest:
            script = waiting.pop()
            rest.pop(script, None)
            text = _read_text(os.path.join(self._paths.root, script))
            found = [path for path, name in rest.items() if name in text]
            for path in found:
                del rest[path]
                self._add_script(os.path.join(self._paths.root, path), ())
            waiting += found

    def _read_words(self, words: Iterable[str], cwd: str, folders: tuple[str, ...]) -> None:
        is_python = False
        before = ";"
        for word in words:
            name = os.path.basename(word)
            self.named.update(
                self._paths.relative(os.path.normpath(os.path.join(cwd, one)))
                for one in (word, *_PART.findall(word))
            )
            if word in _OPERATORS:
                is_python = False
            elif _PYTHON.fullmatch(name):
                is_python = True
            elif before == "cd":
                cwd = os.path.normpath(os.path.join(cwd, word))
            elif before == "-c" and is_python:
                self._add_modules(_IMPORT.findall(word), cwd, folders)
            elif _SHELL_COMMAND.fullmatch(before) and not is_python:
                self._read_text(word, cwd, folders)
            elif before == "-m" or (is_python and word[:2] == "-m" and len(word) > 2):
                module = word if before == "-m" else word[2:]
                if _MODULE.fullmatch(module):
                    self._add_modules([module], cwd, folders)
            elif not before.startswith(">"):
                for one in (word, word.partition("=")[2]):
                    if one and "\n" not in one and len(one) < 4096:
                        self._add_path(one, cwd, folders)
            before = word

    def _read_text(self, text: str, cwd: str, folders: tuple[str, ...]) -> None:
        """The text of a shell command or script, a line at a time."""
        for line in text.replace("\\\n", " ").splitlines():
            self._read_words(_split(line), cwd, folders)

    def _add_path(self, word: str, cwd: str, folders: tuple[str, ...]) -> None:
        path = os.path.normpath(os.path.join(cwd, word))
        shown = self._paths.relative(path)
        if not shown:
            if self._paths.is_root(path):
                self.folders[path] = None
            return
        if self._paths.is_noise(shown):
            return
        if not GLOB_CHARACTERS.isdisjoint(shown) and not os.path.lexists(path):
            self.globs[path] = None
            return
        try:
            found = os.stat(path)
        except (OSError, ValueError):
            is_path = _PATH.fullmatch(word) and "://" not in word and word[:1] != "-"
            if is_path and os.path.isdir(os.path.dirname(path)):
                self.absent[path] = None
            return
        if stat.S_ISDIR(found.st_mode):
            self.folders[path] = None
            if os.path.isfile(os.path.join(path, "__main__.py")):
                self._add_script(os.path.join(path, "__main__.py"), folders)
        elif path.endswith(".py"):
            self._add_script(path, folders)
        else:
            self._read_script(path, cwd, folders)

    def _add_script(self, path: str, folders: tuple[str, ...]) -> None:
        places = tuple(map(self._show, (os.path.dirname(path), *folders)))
        name = os.path.basename(path).removesuffix(".py")
        shown = self._paths.relative(path)
        self.code[ChildCode(name=name, folders=places, path=shown)] = None

    def _add_modules(self, names: Iterable[str], cwd: str, folders: tuple[str, ...]) -> None:
        places = tuple(map(self._show, (cwd, *folders)))
        for name in names:
            self.code[ChildCode(name=name, folders=places)] = None
            self.code[ChildCode(name=f"{name}.__main__", folders=places)] = None

    def _show(self, folder: str) -> str:
        return os.path.relpath(folder, self._paths.root).replace(os.sep, "/")

    def _read_script(self, path: str, cwd: str, folders: tuple[str, ...]) -> None:
        """A file that the command line names: the words in it count where it is a shell script."""
        if path in self._texts_read:
            return
        self._texts_read.add(path)
        text = _read_text(path)
        first = text[:100].partition(b"\n")[0]
        is_script = first.startswith(b"#!") and b"sh" in first
        if is_script or path.endswith(SHELL_SUFFIXES):
            self._read_text(os.fsdecode(text), cwd, folders)


def _split(line: str) -> list[str]:
    """The words of a line of a shell; operators are words of their own."""
    import shlex  # few tools start a shell

    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    try:
        return [*lexer]
    except ValueError:  # a quote that ends on another line
        return line.split()


def _read_text(path: str) -> bytes:
    """The bytes of a small regular file, else b""."""
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_SCRIPT:
            return b""
        opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # the hook leaves this out
        try:
            text = os.read(opened, LARGEST_SCRIPT)
        finally:
            os.close(opened)
    except (OSError, ValueError):
        return b""
    return b"" if b"\0" in text else text
