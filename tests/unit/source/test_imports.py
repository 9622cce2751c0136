"""`imports` by itself: which imports count, and that the set of modules is never too small."""

from __future__ import annotations

import ast

import pytest

from discover_orch.source.code_meaning import read_imports
from discover_orch.source.facts import ImportFact
from discover_orch.source.source_file import names_of


def imports(text: str, is_package: bool = False) -> list[ImportFact]:
    tree = ast.parse(text)
    attributes = [one for one in ast.walk(tree) if isinstance(one, ast.Attribute)]
    return list(read_imports(tree, attributes, is_package=is_package))


def names(text: str) -> set[str]:
    return {f"{fact.module}:{','.join(fact.names)}".rstrip(":") for fact in imports(text)}


def test_kinds_of_imports() -> None:
    assert imports("import x.y, z as w\nfrom p import q as r, s\nfrom t import *\n") == [
        ImportFact("x.y"),
        ImportFact("z"),
        ImportFact("p", ("q", "s")),
        ImportFact("t", ("*",)),
    ]


def test_what_relative_imports_name_depends_on_the_package() -> None:
    facts = imports("from . import x\nfrom .y import z\nfrom ..w import v")
    assert names_of(facts, "a.b") == ("a", "a.b", "a.b.x", "a.b.y", "a.b.y.z", "a.w", "a.w.v")
    assert names_of(facts, "c") == ("c", "c.x", "c.y", "c.y.z")
    assert names_of(facts, "") == ()
    assert names_of(imports("from . import x\nx.y"), "a") == ("a", "a.x", "a.x.y")
    assert names_of(imports("__all__ = ['x']", is_package=True), "a") == ("a", "a.x")


def test_imports_anywhere_count() -> None:
    text = """
def f():
    import one
    class C:
        try:
            import two
        except ImportError:
            import three
        finally:
            import four
        with x:
            for y in z:
                import five
            else:
                import six
match x:
    case 1:
        import seven
async def g():
    async with x:
        import eight
while x: import nine
if x: pass
elif y: import ten
else: import eleven
"""
    expected = "one two three four five six seven eight nine ten eleven"
    assert names(text) == set(expected.split())


@pytest.mark.parametrize(
    ("text", "module"),
    [
        ("importlib.import_module('.y', __package__)", ".y"),
        ("importlib.import_module('.y', package='x')", ""),
        ("importlib.import_module('.y', package=__package__)", ".y"),
        ("__import__('x', globals(), locals(), ['y'])", ""),
        ("__import__('x', fromlist=['y'])", ""),
        ("importlib.import_module('.y', __name__)", ""),  # of a package alone
        ("importlib.import_module(name)", ""),
        ("importlib.import_module(f'x.{y}')", ""),
        ("importlib.import_module('.y')", ""),
        ("importlib.import_module(**options)", ""),
        ("f = importlib.import_module\nf('x')", ""),
        ("list(map(__import__, x))", ""),
    ],
)
def test_dynamic_imports(text: str, module: str) -> None:
    # Beside what is imported by a statement, and the attributes of that.
    others = [fact.module for fact in imports(text) if not fact.module.startswith("importlib")]
    assert others == [module]


def test_what_stands_in_a_function_is_lazy() -> None:
    text = """
import now_1
if x:
    import now_2
try:
    from now_3 import y
except ImportError:
    with z:
        import now_4
class C(__import__("now_5").D):
    import now_6
    m = __import__("now_7")
    def f(self, a=__import__("now_8")):
        import late_1
        class D:
            import late_2
        if x:
            m = __import__("late_3")
        def g(a=__import__("late_4")): ...
@__import__("now_9").mark
async def h():
    from late_5 import y
f = lambda a=__import__("now_10"): __import__("late_6")
for x in map(lambda: lambda: import_module(x), y): import now_11
"""
    found = imports(text)
    assert {fact.module for fact in found if not fact.is_lazy} == {f"now_{n}" for n in range(1, 12)}
    assert {fact.module for fact in found if fact.is_lazy} == {
        *(f"late_{n}" for n in range(1, 7)),
        "",
    }
