"""The door to the configuration file, with real files: root, reading, packages, lines."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.config import file as config
from discover_orch.config.project import Project
from discover_orch.model.errors import OrchError, Problem, ProjectError
from tests.support.permissions import run_bound


def write(root: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def read_project(
    start: str, explicit: str | None, environ: Mapping[str, str]
) -> tuple[Project, tuple[Problem, ...]]:
    found = config.find_root(start, explicit)
    return config.build_project(found, config.read_config_bytes(found[0], found[1]), environ)


def read(start: Path, explicit: str | None = None, **environ: str) -> Project:
    project, warnings = read_project(str(start), explicit, environ)
    assert warnings == ()
    return project


def refused(start: Path, explicit: str | None = None, **environ: str) -> tuple[Problem, ...]:
    with pytest.raises(ProjectError) as caught:
        read_project(str(start), explicit, environ)
    return caught.value.problems


def say(problems: tuple[Problem, ...]) -> list[str]:
    """As a user reads them."""
    return [
        f"{problem.location or '-'}: {problem.message} ({problem.hint})" for problem in problems
    ]


@pytest.mark.parametrize(
    "text",
    [
        "[tool.orch]",
        "\ufeff[tool.orch]",
        "[tool.orch.params]\nx = 1",
        "  [ tool . orch ]",
        '[tool."orch"]',
        "[tool]\norch = {}",
        "[tool]\norch.strict = true",
        "tool.orch.strict = true",
        "tool = {orch = {}}",
        'x = """\n"""\n[tool.orch]',
        "[project]\r\nname = 'x'\r\n[tool.orch]\r\n",
    ],
)
def test_every_way_to_write_the_table_is_found(tmp_path: Path, text: str) -> None:
    write(tmp_path, {"pyproject.toml": text, "a/b": ""})
    assert config.find_root(str(tmp_path / "a"))[0] == str(tmp_path)
    read(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "[project]\nname = 'x'",
        "[tool.torch]",
        "[tool.orchestra]",
        "# [tool.orch]",
        "[project.scripts]\norch = 'x:main'",
        "x = '''\n[tool.orch]\n'''",
        "x = 'broken",
    ],
)
def test_a_pyproject_without_the_table_is_passed_by(tmp_path: Path, text: str) -> None:
    write(tmp_path, {"orch.toml": "", "a/pyproject.toml": text})
    assert config.find_root(str(tmp_path / "a"))[0] == str(tmp_path)


def test_an_unreadable_file_is_told(tmp_path: Path) -> None:
    write(tmp_path, {"orch.toml": ""})
    (tmp_path / "orch.toml").chmod(0)
    assert run_bound(lambda: "; ".join(say(refused(tmp_path)))) == (
        "orch.toml: the configuration cannot be read: Permission denied"
        " (change its permissions, or choose another project with -C)"
    )


def test_a_file_that_vanished_is_told(tmp_path: Path) -> None:
    with pytest.raises(OrchError, match="cannot be read: No such file"):
        config.read_config_bytes(str(tmp_path), "orch.toml")


def test_lines_of_keys_are_those_of_the_file() -> None:
    text = '''\
a = """
b = 1
\\""" c = 2
""""
d = [  # ] = """
  "x = 1", { e = 2 },
]
[ f . "g.h" ] # [i]
'j' = 1
k.l = 'm = "'
[[n]]
o = 1
[p]
'''
    assert config.find_lines(text) == {
        ("a",): 1,
        ("d",): 5,
        ("f",): 8,
        ("f", "g.h"): 8,
        ("f", "g.h", "j"): 9,
        ("f", "g.h", "k"): 10,
        ("f", "g.h", "k", "l"): 10,
        ("p",): 13,
    }


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
    found = config.find_lines(text)
    assert {path: found.get(path) for path in lines} == lines


@given(st.text("ab.=\"'[]{}\n\\#", max_size=30))
def test_lines_of_any_text_never_raise(text: str) -> None:
    config.find_lines(text)


def test_the_fingerprint_changes_with_everything_that_counts_and_shows_no_value() -> None:
    found: config.FoundConfig = ("/project", "orch.toml", None)
    base = config.config_key(found, b"x = 1", {"HOME": "/"})
    assert base == config.config_key(found, b"x = 1", {"HOME": "/other", "PWD": "/"})
    other = [
        config.config_key(("/project", "pyproject.toml", None), b"x = 1", {}),
        config.config_key(("/project", "orch.toml", "pyproject.toml"), b"x = 1", {}),
        config.config_key(found, b"x = 2", {}),
        config.config_key(found, b"x = 1", {"ORCH_STAGES": "a"}),
        config.config_key(found, b"x = 1", {"ORCH_STAGES": "a\udcff"}),
        config.config_key(found, b"x = 1", {"ORCH_PARAM_TOKEN": "hunter22"}),
        config.config_key(found, b"x = 1", {"DATABASE_URL": "hunter22"}),
    ]
    assert len({base, *other}) == len(other) + 1
    assert "hunter22" not in "".join(other)


def test_the_warm_path_imports_no_toml_parser(tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": "[project]\nname = 'torch'\n[tool.orch]\n", "src/x": ""})
    program = (
        "import sys, os\n"
        "from discover_orch.config import file as config\n"
        "found = config.find_root('.')\n"
        "data = config.read_config_bytes(found[0], found[1])\n"
        "config.config_key(found, data, os.environ)\n"
        "assert 'tomllib' not in sys.modules \n"
        "print(found[1])\n"
    )
    package = str(Path(config.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": package},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stderr, done.stdout) == ("", "pyproject.toml\n")
