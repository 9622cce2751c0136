"""What is known of the pieces of a module: its loaded code and its functions. `code_pieces` makes them from text."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

#: Among the names of a piece: it finds names by computation; it reads source text or code objects; before a name: it
#: asks whether there is such a function. An import has the last part of the module before that.
#: Before the name of something imported: it passes this on as a value, so that others see all that is in a module.
COMPUTES, READS_SOURCE, ASKS, HANDS_ON = "*", "<", "?", "@"


class Piece(Struct, frozen=True, array_like=True, omit_defaults=True):
    """Hashes of all definitions of one name in their order, without docstrings: whole, and the parameters alone,
    without values and types; that of the docstrings, "" where there are none. `calls` and `values` are names, with
    spaces between them: those that it calls or imports, and those that it mentions in another way, as text too."""

    body: str
    header: str = ""
    docs: str = ""
    calls: str = ""
    values: str = ""


class Pieces(Struct, frozen=True, array_like=True):
    """Those of one module. `version` is that of all of them; `load` is the loaded code, `functions` has the others by
    their qualified names; `docs` is the hash of all docstrings, `listed` that of all names with their parameters, with
    values and types. `aliases` are names under which something was imported, with its own. `loaded` are the classes at
    the top, and, with a dot at the end, the functions and classes that are loaded code as a whole."""

    version: str
    load: Piece
    functions: Mapping[str, Piece]
    docs: str
    listed: str
    aliases: Mapping[str, str] = {}
    loaded: tuple[str, ...] = ()

    def has(self, name: str) -> bool:
        """Whether code of this qualified name is of this module."""
        is_loaded = name in self.loaded or any(
            f"{name}.".startswith(one) for one in self.loaded if one[-1] == "."
        )
        return name in self.functions or is_loaded
