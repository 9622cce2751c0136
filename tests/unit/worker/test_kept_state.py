"""That nothing has changed in a module is found out quickly or by looking at all that it holds: with the same answer."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from discover_orch.worker.kept_state import KeptState
from discover_orch.worker.project_code import ProjectCode

NAME = "a_module_of_the_project"
TEXT = """\
import array
import re
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path


@dataclass
class Point:
    x: int = 0
    more: list = field(default_factory=list)


class Slots:
    __slots__ = ("a",)


class Numbers(list):
    pass


class Colour(Enum):
    red = 1


def function(a, b=[]):
    return a


def outer():
    count = 0
    def inner():
        nonlocal count
        count += 1
    return inner


counter, point, slots, numbers = outer(), Point(), Slots(), Numbers()
pattern, path, empty, nested = re.compile("a"), Path("a"), {}, {"a": [{"b": (1, [])}]}
bound, part, queue = point.__init__, partial(function, 1), deque()
counts, ordered, default = Counter(), OrderedDict(), defaultdict(list)
"""
#: With one of these nothing of the module is kept, and all is looked at.
OTHERS = {
    "plain": "",
    "lock": "lock = threading.Lock()\n",
    "array": "numbers_of_c = array.array('b', [0])\n",
}
#: What a step can do to it, and whether the state of the module is another one then.
DONE: dict[str, tuple[Callable[[Any], object], bool]] = {
    "nothing": (lambda m: None, False),
    "it is called": (lambda m: (m.function(1), m.Point(), str(m.path), m.pattern.match("a")), False),
    "a name": (lambda m: setattr(m, "new", 1), True),
    "another value": (lambda m: setattr(m, "empty", 1), True),
    "the same value anew": (lambda m: setattr(m, "__file__", str(1 << 40)), False),
    "a name less": (lambda m: delattr(m, "part"), True),
    "into an empty dict": (lambda m: m.empty.update(a=1), True),
    "deep inside": (lambda m: m.nested["a"][0]["b"][1].append(1), True),
    "an attribute": (lambda m: setattr(m.point, "x", 1), True),
    "a new attribute": (lambda m: setattr(m.point, "y", 1), True),
    "a list of an object": (lambda m: m.point.more.append(1), True),
    "a slot": (lambda m: setattr(m.slots, "a", 1), True),
    "a class": (lambda m: setattr(m.Point, "z", 1), True),
    "a function": (lambda m: setattr(m.function, "calls", 1), True),
    "a default": (lambda m: m.function.__defaults__[0].append(1), True),
    "a closure": (lambda m: m.counter(), True),
    "a list of its own": (lambda m: m.numbers.append(1), True),
    "a deque": (lambda m: m.queue.append(1), True),
    "a counter": (lambda m: m.counts.update("a"), True),
    "a defaultdict": (lambda m: m.default["a"], True),
    "another order": (lambda m: m.ordered.update(a=1), True),
}  # fmt: skip


@pytest.fixture
def loaded(tmp_path: Path) -> Iterator[Callable[[str], tuple[ModuleType, KeptState]]]:
    def load(text: str) -> tuple[ModuleType, KeptState]:
        module = sys.modules[NAME] = ModuleType(NAME)
        exec(text, vars(module))
        project = ProjectCode(str(tmp_path), ())
        project.modules[NAME] = "a.py"
        kept = KeptState(project)
        kept.note_loaded("a.py")
        assert kept.find_changed(("a.py",)) == ()
        return module, kept

    yield load
    sys.modules.pop(NAME, None)


@pytest.mark.parametrize("others", OTHERS)
@pytest.mark.parametrize("done", DONE)
def test_a_module_that_is_left_in_another_state_is_named_once(
    done: str, others: str, loaded: Callable[[str], tuple[ModuleType, KeptState]]
) -> None:
    module, kept = loaded(TEXT + OTHERS[others])
    change, is_other = DONE[done]
    change(module)
    assert kept.find_changed(("a.py",)) == (("a.py",) if is_other else ())
    assert kept.find_changed(("a.py",)) == ()


VALUES = st.recursive(
    st.integers() | st.text() | st.none(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@given(VALUES, VALUES)
@example(0, "")
@example(-1, -2)
@example(1, True)
@example(0, 2**61 - 1)
def test_any_value_in_the_place_of_another_is_seen(before: Any, after: Any) -> None:
    project = ProjectCode("/", ())
    project.modules[NAME] = "a.py"
    module = sys.modules[NAME] = ModuleType(NAME)
    held = vars(module)["held"] = [before]
    kept = KeptState(project)
    kept.note_loaded("a.py")
    held[0] = after
    is_same = type(before) is type(after) and before == after
    assert is_same or kept.find_changed(("a.py",)) == ("a.py",)
    del sys.modules[NAME]


def test_what_a_tool_lets_go_ends_at_once(
    loaded: Callable[[str], tuple[ModuleType, KeptState]],
) -> None:
    module, kept = loaded(
        "class Client:\n    def __del__(self):\n        pass\n\n\nclient = Client()\n"
    )
    ended = weakref.ref(vars(module)["client"])
    vars(module)["client"] = None
    assert ended() is None
    assert kept.find_changed(("a.py",)) == ("a.py",)
