"""The shape of JSON documents, as text with the names of types in place of values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

import discover_orch.api

#: Objects whose keys are names: of parameters, of metrics, of statuses.
NAMED = {"params", "metrics", "counts"}
#: Keys with the same content everywhere, and how the pages call it.
CALLED = {
    "errors": "[Problem]",
    "warnings": "[Problem]",
    "error": "Failure | null",
    "notes": "[string]",
    "version": "1",
}
KINDS = [
    kind
    for kind in vars(discover_orch.api).values()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
]
#: The keys of the values that the page of the Python API describes, and their names. Of a value that leaves defaults
#: out, the keys that are always there.
VALUES = {
    frozenset(one.name for one in msgspec.structs.fields(kind) if is_whole or one.required): (
        kind.__name__
    )
    for kind in KINDS
    for is_whole in (True, not kind.__struct_config__.omit_defaults)
}
VALUES.pop(frozenset(), None)


class Shape:
    """What was seen at one place of documents: kinds of scalars, the shape of items, the shapes of keys."""

    def __init__(self) -> None:
        self.kinds: set[str] = set()
        self.items: Shape | None = None
        self.keys: dict[str, Shape] = {}
        self.objects = 0
        self.seen = 0

    def add(self, value: object, name: str = "") -> None:
        self.seen += 1
        match value:
            case dict():
                self.objects += 1
                for key, one in value.items():
                    shown = "NAME" if name in NAMED else key
                    self.keys.setdefault(shown, Shape()).add(one, key)
            case list():
                self.items = self.items or Shape()
                for one in value:
                    self.items.add(one)
            case None:
                self.kinds.add("null")
            case bool():
                self.kinds.add("boolean")
            case str():
                self.kinds.add("string")
            case _:
                self.kinds.add("number")

    def lines(self) -> list[str]:
        """As JSON with the names of types in place of values."""
        scalars = " | ".join(sorted(self.kinds, key=lambda one: (one == "null", one)))
        shapes: list[list[str]] = [[scalars]] if scalars else []
        if self.items is not None:
            inner = self.items.lines() if self.items.seen else ["…"]
            shapes.append(_enclosed("[", inner, "]"))
        if self.objects:
            shapes.append(self._object())
        *first, last = shapes
        return [" | ".join([*(one[0] for one in first), last[0]]), *last[1:]]

    def _object(self) -> list[str]:
        if name := VALUES.get(frozenset(self.keys), ""):
            return [name]
        if VALUES.get(frozenset(self.keys) - {"stage", "params"}) == "Outcome":
            return ['Outcome with "stage" and "params"']
        lines = self._lines_of_keys()
        if not any(line.endswith(("{", "[")) for line in lines):
            short = self.short()
            if len(short) <= 90:
                return [short]
        return ["{", *lines, "}"]

    def _lines_of_keys(self) -> list[str]:
        """Keys in a row whose values have the same shape stand in one line."""
        alike: list[tuple[list[str], list[str]]] = []
        for name, value in self._named_values():
            if alike and alike[-1][1] == value:
                alike[-1][0].append(name)
            else:
                alike.append(([name], value))
        return [
            line
            for names, (head, *rest) in alike
            for line in (f"  {', '.join(names)}: {head}", *(f"  {one}" for one in rest))
        ]

    def _named_values(self) -> Iterator[tuple[str, list[str]]]:
        for key, shape in self.keys.items():
            if key == "version":  # in every document
                continue
            mark = "?" if shape.seen < self.objects and key != "NAME" else ""
            is_called = key in CALLED and shape.kinds != {"string"}
            value = [CALLED[key]] if is_called else shape.lines()
            yield "NAME" if key == "NAME" else f'"{key}"{mark}', value

    def short(self) -> str:
        """The object in one line."""
        return "{" + ", ".join(f"{name}: {value[0]}" for name, value in self._named_values()) + "}"


def _enclosed(start: str, inner: Sequence[str], end: str) -> list[str]:
    *before, last = inner
    return [start + inner[0] + end] if not before else [start + inner[0], *inner[1:-1], last + end]
