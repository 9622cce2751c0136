"""Which names of a module lead to something else after some code has run, and for which code that counts."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from discover_orch.worker.module_state import ModuleState
from discover_orch.worker.project_code import ProjectCode

MODULE = """
import functools, logging, pathlib, threading
from collections import OrderedDict, deque
from configparser import ConfigParser
from types import SimpleNamespace

FOLDER = pathlib.Path("data")
LOG = logging.getLogger("kept")
LOCK = threading.Lock()
number, text, missing = 1, "a", None
items, table, names, queue = [1], {"a": 1}, {1}, deque([1])
deep = {"a": [{"b": [1]}]}
ordered = OrderedDict(a=1)
space = SimpleNamespace(a=1)
config = ConfigParser()

class Slots:
    __slots__ = ("kept",)
    def __init__(self): self.kept = None

class Base:
    shared = None
    registry = {}
    def set(self, value): self.kept = value

class Derived(Base):
    def __init__(self): super().__init__()
    @property
    def plain(self): return 1

slots, derived = Slots(), Derived()

class Odd(type):
    def __getattribute__(cls, name): raise RuntimeError(name)
    def __hash__(cls): raise RuntimeError
    def __eq__(cls, other): raise RuntimeError
class Raising(metaclass=Odd):
    def __getattribute__(self, name): raise RuntimeError(name)
    def __len__(self): raise RuntimeError
    def __iter__(self): raise RuntimeError
    def __hash__(self): raise RuntimeError
    def __eq__(self, other): raise RuntimeError
    def __bool__(self): raise RuntimeError
raising = Raising()

def with_default(kept=[]): kept.append(1)
def with_attribute(): with_attribute.kept = 1
def closing():
    kept = []
    def call(): kept.append(1)
    return call
closed = closing()
@functools.cache
def cached(): return [1]
def set_global():
    global number
    number = 2
def set_new():
    global new
    new = 2
def late():
    global xml
    import xml.dom
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[ProjectCode]:
    (tmp_path / "kept.py").write_text(MODULE)
    (tmp_path / "user.py").write_text("from kept import derived\nimport kept\ndef use(): derived\n")
    sys.path.insert(0, str(tmp_path))
    code = ProjectCode(str(tmp_path), [str(tmp_path)])
    for name in ("kept", "user"):
        importlib.import_module(name)
        code.note_import(name, str(tmp_path / f"{name}.py"), b"")
    yield code
    sys.path.remove(str(tmp_path))
    for name in ("kept", "user"):
        del sys.modules[name]


def run(program: str) -> None:
    exec(textwrap.dedent(program), vars(sys.modules["kept"]).copy())


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("set_global()", "number"),
        ("set_new()", "new"),
        ("items.append(1)", "items"),
        ("items[0] = 2", "items"),
        ("table['b'] = 1", "table"),
        ("table['a'] = 2", "table"),
        ("names.add(2)", "names"),
        ("queue.append(2)", "queue"),
        ("deep['a'][0]['b'].append(2)", "deep"),
        ("ordered['b'] = 1", "ordered"),
        ("space.a = [1]", "space"),
        ("config.read_string('[a]')", "config"),
        ("slots.kept = [1]", "slots"),
        ("derived.set([1])", "derived"),
        ("Base.shared = 1", "Base"),
        ("Derived.registry['a'] = 1", "Base"),
        ("with_default()", "with_default"),
        ("with_attribute()", "with_attribute"),
        ("closed()", "closed"),
        ("LOG.isEnabledFor(10); LOG.info('a')", None),
        ("str(FOLDER / 'a'); hash(FOLDER); FOLDER.parts", None),
        ("LOCK.acquire(); LOCK.release()", None),
        ("cached()", None),
        ("late()", None),
        ("Derived().set(1); Derived().plain", None),
        ("import xml.sax", None),
    ],
)
def test_what_code_keeps_is_found_by_its_name(
    project: ProjectCode, program: str, name: str | None
) -> None:
    state = ModuleState(project)
    state.note(())
    assert state.find_changed() == []
    run(program)
    found = {(one.file, one.name) for one in state.find_changed()} - {("user.py", "derived")}
    assert found == ({("kept.py", name)} if name else set())
    assert state.find_changed() == []


def test_it_counts_for_code_that_names_it_and_for_methods_of_its_class(
    project: ProjectCode,
) -> None:
    kept, user = sys.modules["kept"], sys.modules["user"]
    state = ModuleState(project)
    state.note(())
    run("derived.set(1); items.append(1)")
    changed = {one.name: one for one in state.find_changed() if one.file == "kept.py"}
    use, method, other = user.use.__code__, kept.Base.set.__code__, kept.set_global.__code__
    assert [changed["derived"].is_used_by([one]) for one in (use, method, other)] == [
        True,
        True,
        False,
    ]
    assert [changed["items"].is_used_by([one]) for one in (use, method, other)] == [False] * 3
