"""The generators of random numbers that a module has for all: of `random`, and of numpy."""

from __future__ import annotations

import contextlib
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any


def _read_random(module: Any) -> tuple[Any, ...]:
    _, words, gauss = module.getstate()
    return words[:-1], words[-1], gauss


def _read_numpy(module: Any) -> tuple[Any, ...]:
    held = module.get_state(legacy=False)
    state = held.pop("state")
    return state["key"].tobytes(), {**held, "pos": state["pos"]}


def _set_random(module: Any, state: tuple[Any, ...]) -> None:
    words, place, gauss = state
    module.setstate((3, (*words, place), gauss))


def _set_numpy(module: Any, state: tuple[Any, ...]) -> None:
    words, others = state
    key = memoryview(words).cast("I").tolist()
    module.set_state({**others, "state": {"key": key, "pos": others["pos"]}})


#: What reads and sets the generator that a module has for all: its words, and the rest.
_GENERATORS: Mapping[str, Sequence[Callable[..., Any]]] = {
    "random": (_read_random, _set_random),
    "numpy.random": (_read_numpy, _set_numpy),
}
#: The words that a generator has before it is seeded. They are others each time that 624 of them were used.
_unseeded: dict[str, Any] = {}


def note_generators() -> None:
    """Those that are there now have no seed yet."""
    for name in _GENERATORS:
        note_generator(name)


def note_generator(name: str) -> None:
    """This module, if it has one, has just made its global generator: no code has seeded it."""
    if name not in _GENERATORS or name not in sys.modules:
        return
    module: Any = sys.modules[name]
    module.random()  # the first number makes new words
    _unseeded[name] = _GENERATORS[name][0](module)[0]


def read_generators() -> dict[str, Any]:
    """Those that were seeded."""
    found = {}
    for name, words in _unseeded.items():
        with contextlib.suppress(Exception):  # it was removed, or replaced by one of another kind
            state = _GENERATORS[name][0](sys.modules[name])
            if state[0] != words:
                found[name] = state
    return found


def set_generator(name: str, state: Any) -> None:
    """None for a generator without a seed: each tool draws other numbers, as it does alone."""
    with contextlib.suppress(Exception):
        module: Any = sys.modules[name]
        if state is not None:
            _GENERATORS[name][1](module, state)
        else:
            module.seed()
            note_generator(name)
