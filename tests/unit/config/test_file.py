"""The lines of the keys of a configuration file."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from discover_orch.config import file as config

bare = st.text("abc-_1", min_size=1, max_size=3)

strings = st.text("ab\"'\\#=[]{}\n", max_size=6)


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[tuple[str, ...], int]]:
    """A TOML document, and the line of each of its keys."""
    text = ""
    lines: dict[tuple[str, ...], int] = {}
    for section in draw(st.lists(bare, unique=True, max_size=3)):
        text += draw(st.sampled_from(["", "\n", "# x = 1\n", "  "]))
        lines[(section,)] = text.count("\n") + 1
        text += f"[{section}] # y = 2\n"
        for key in draw(st.lists(bare, unique=True, max_size=3)):
            lines[(section, key)] = text.count("\n") + 1
            text += f"{key} = {draw(values())}\n"
    return text, lines


@st.composite
def values(draw: st.DrawFn) -> str:
    value = draw(strings)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    flat = escaped.replace("\n", "\\n")
    literal = "".join(char for char in value if char not in "'\n")
    return draw(
        st.sampled_from(
            [
                f'"{flat}"',
                f'"""{escaped}"""',
                f"'{literal}'",
                f"'''{literal}\n'''",
                f'[ # "[\n  "{flat}",\n  [\'{literal}\'] ]',
                f'{{ z = "{flat}", y.x = [\n1] }}',
                "1",
            ]
        )
    )


@given(documents())
def test_lines_are_never_wrong(document: tuple[str, dict[tuple[str, ...], int]]) -> None:
    text, lines = document
    tomllib.loads(text)
    found = config.find_lines("orch.toml", text.encode())
    assert {path: found.get(path) for path in lines} == lines


@given(st.text("ab.=\"'[]{}\n\\#", max_size=30))
def test_lines_of_any_text_never_raise(text: str) -> None:
    config.find_lines("orch.toml", text.encode())
