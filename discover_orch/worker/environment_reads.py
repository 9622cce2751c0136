"""Which environment variables the project's own code asks for by name.

Python has no audit event for this. `os.environ` encodes each name before it looks it up, with a function that is an
attribute of the mapping: replacing that function changes nothing that a program can notice. The calling code decides
what counts. Where the project copies the whole environment, starts a child process, which gets a copy, or has a
library look a name up, the parent finds out what its code means. The parent also says what the value is, so a variable
that code of the project sets counts with the value that it had before.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType
    from typing import Any

    from discover_orch.worker.project_code import ProjectCode
    from discover_orch.worker.shared_uses import ModuleUses

#: What describes the terminal and the user's session.
IGNORED = frozenset(["PATH", "HOME", "USER", "PWD", "SHELL", "TERM", "LANG", "COLUMNS", "LINES"])
OWN_PREFIX = "ORCH_"
_LIBRARY = os.path.dirname(os.__file__)
#: Functions of the standard library that look up a name for their caller.
_LOOKUPS = frozenset(
    (file, name)
    for module, names in (
        ("os", "getenv getenvb setdefault"),
        ("_collections_abc", "get __contains__ pop"),
        ("posixpath", "expandvars repl"),
        ("collections.__init__", "get __contains__ __getitem__"),  # ChainMap
    )
    for file in (
        f"<frozen {module}>",
        os.path.join(_LIBRARY, *module.split(".")) + ".py",
    )
    for name in names.split()
)
_getframe = sys._getframe


class EnvironmentReads:
    """Notes names from the moment it is made."""

    def __init__(self, project: ProjectCode, uses: ModuleUses) -> None:
        self._uses = uses
        #: Called where code asks whether a variable is set, with the value that `setdefault` gives.
        self.note_question: Callable[[str, str | None], None] = lambda name, default: None
        # Instructions that go through all names: (id of the code, index) -> the code.
        self._copying: dict[tuple[int, int], CodeType] = {}
        self._project = project
        for environ in (os.environ, getattr(os, "environb", None)):
            if hasattr(environ, "encodekey") and hasattr(environ, "decodekey"):
                self._follow(environ)

    def _follow(self, environ: Any) -> None:
        original_encode: Callable[[Any], Any] = environ.encodekey
        original_decode: Callable[[Any], Any] = environ.decodekey

        def encodekey(key: Any) -> Any:
            encoded = original_encode(key)
            frame = _getframe(1)
            if frame.f_code.co_name == "__getitem__":
                self._note_lookup(os.fsdecode(encoded), frame.f_back)
            return encoded

        def decodekey(key: Any) -> Any:
            # Called by `__iter__` of the mapping, for the code that iterates.
            frame = _getframe(1).f_back
            while frame is not None and frame.f_code.co_name == "__iter__":
                frame = frame.f_back
            if frame is not None:
                self._copying[id(frame.f_code), frame.f_lasti] = frame.f_code
                if key == next(iter(getattr(environ, "_data", ())), None):  # once for all names
                    self._note_copy(frame)
            return original_decode(key)

        environ.encodekey, environ.decodekey = encodekey, decodekey

    def _note_lookup(self, name: str, frame: FrameType | None) -> None:
        if name in IGNORED or name.startswith(OWN_PREFIX):
            return
        is_question, default = False, None
        while frame is not None:
            code = frame.f_code
            file = code.co_filename
            if code.co_name == "__contains__":
                is_question = True
            elif is_question and code.co_name == "setdefault":
                default = frame.f_locals.get("value")
            if (file, code.co_name) not in _LOOKUPS and (
                file[:1] != "<" or file.startswith("<frozen ")
            ):
                break
            frame = frame.f_back  # also out of generated code
        if frame is None or (id(frame.f_code), frame.f_lasti) in self._copying:
            return
        if is_question:
            self.note_question(name, default if isinstance(default, str) else None)
        if self._project.find_code_file(frame.f_code):
            self._uses.note(frame, "env", name)
        elif self._uses.is_called_by_project(frame):
            self._uses.note(frame, "asked", name)

    def _note_copy(self, frame: FrameType) -> None:
        if self._uses.is_called_by_project(frame):
            self._uses.note(frame, "copied", "")
