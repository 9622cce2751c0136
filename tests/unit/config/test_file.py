"""The door to the configuration file, with real files: root, reading, packages, lines."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
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


# The root.


def test_the_nearest_folder_with_a_configuration_is_the_root(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "orch.toml": "",
            "inner/pyproject.toml": "[tool.orch]\n",
            "inner/deep/pyproject.toml": "[tool.torch]\n[tool.orchestra]\n",
            "inner/deep/er/x": "",
        },
    )
    inner = str(tmp_path / "inner")
    assert config.find_root(str(tmp_path / "inner/deep/er")) == (inner, "pyproject.toml", None)
    assert config.find_root(inner) == (inner, "pyproject.toml", None)
    assert config.find_root(str(tmp_path)) == (str(tmp_path), "orch.toml", None)


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


def test_without_a_configuration_the_start_is_the_root(tmp_path: Path) -> None:
    project = read(tmp_path)
    assert (project.root, project.config) == (str(tmp_path), None)
    assert config.resolve_packages(project) == ()


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "orch.toml").mkdir()
    os.mkfifo(tmp_path / "pyproject.toml")
    assert config.find_root(str(tmp_path)) == (str(tmp_path), None, None)


def test_a_given_folder_is_the_root_exactly(tmp_path: Path) -> None:
    write(tmp_path, {"orch.toml": "strict = true", "a/b": "", "c/orch.toml": ""})
    assert read(tmp_path, "a").root == str(tmp_path / "a")
    assert read(tmp_path, "a").config is None
    assert read(tmp_path / "a", "../c").root == str(tmp_path / "c")
    assert read(tmp_path / "a", str(tmp_path)).strict


def test_a_given_folder_that_is_none_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, {"sample_project/orch.toml": ""})
    assert say(refused(tmp_path, "sampl_project")) == [
        '-: folder "sampl_project" does not exist (did you mean "sample_project"?)'
    ]
    assert say(refused(tmp_path, "nowhere/at/all")) == [
        '-: folder "nowhere/at/all" does not exist (-C takes the folder of the project; for a new one, create the '
        "folder first)"
    ]
    assert say(refused(tmp_path, "sample_project/orch.toml")) == [
        '-: "sample_project/orch.toml" is not a folder (-C takes the folder of the project)'
    ]


@pytest.fixture
def gone(tmp_path: Path) -> Iterator[None]:
    """Stands in a folder that was deleted."""
    before = os.getcwd()
    lost = tmp_path / "lost"
    lost.mkdir()
    os.chdir(lost)
    lost.rmdir()
    yield
    os.chdir(before)


@pytest.mark.usefixtures("gone")
def test_a_deleted_current_folder_is_an_error() -> None:
    assert say(refused(Path("."))) == [
        "-: the current folder no longer exists (change to another folder)"
    ]


# The file.


def test_orch_toml_goes_before_the_table_beside_it_with_a_warning(tmp_path: Path) -> None:
    write(tmp_path, {"orch.toml": "stages = ['a']", "pyproject.toml": "[tool.orch]\nx = 1"})
    project, warnings = read_project(str(tmp_path), None, {})
    assert project.stages == ("a",)
    assert [problem.severity for problem in warnings] == ["warning"]
    assert say(warnings) == [
        "pyproject.toml: [tool.orch] in pyproject.toml is ignored, because orch.toml exists"
        " (keep the settings in one of the two files)"
    ]


@pytest.mark.parametrize("name", ["orch.toml", "pyproject.toml"])
def test_a_byte_order_mark_is_no_matter(tmp_path: Path, name: str) -> None:
    header = "" if name == "orch.toml" else "[tool.orch]\n"
    write(tmp_path, {name: f"\ufeff{header}stages = ['a']"})
    assert read(tmp_path).stages == ("a",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"strict = true\nstages = [\n'a'\n'b']\n",
            "orch.toml:4: not valid TOML: unclosed array (close it with ], and put commas",
        ),
        (b"strict = yes", "orch.toml:1: not valid TOML: invalid value ("),
        (b"a = 1\n\n\nb = [1,\n", "orch.toml:4: not valid TOML: "),
        (b"a = 1\na = 2\n", "orch.toml:2: not valid TOML: cannot overwrite a value ("),
        (b"a = 1\r\nb = x\r\n", "orch.toml:2: not valid TOML: invalid value ("),
        (b"a = 1\nb = '\xff'", "orch.toml:2: the configuration is not UTF-8 (save it as UTF-8)"),
        ("a = 1".encode("utf-16"), "orch.toml:1: the configuration is not UTF-8 (save it"),
        (b"a = " + b"9" * 5000, "orch.toml: not valid TOML: a number has too many digits, or"),
        (b"a = " + b"[" * 9999, "orch.toml: not valid TOML: a number has too many digits, or"),
    ],
)
def test_a_file_that_is_no_toml_is_told_with_its_line(
    tmp_path: Path, content: bytes, said: str
) -> None:
    write(tmp_path, {"orch.toml": content})
    (line,) = say(refused(tmp_path))
    assert line.startswith(said)


def test_a_broken_pyproject_that_may_be_ours_is_told(tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": "[tool]\norch = {\n"})
    (line,) = say(refused(tmp_path))
    assert line.startswith("pyproject.toml:2: not valid TOML: ")


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


@pytest.mark.parametrize("text", ["[[tool.orch]]", "[tool]\norch = 3"])
def test_the_table_must_be_a_table(tmp_path: Path, text: str) -> None:
    write(tmp_path, {"pyproject.toml": text})
    assert say(refused(tmp_path)) == [
        "pyproject.toml: tool.orch must be a table (write [tool.orch] above the settings)"
    ]


def test_everything_that_is_wrong_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "src/x": "",
            "pyproject.toml": """\
[project]
name = "x"
jobs = 0

[tool.orch]  # the settings
packages = ["scr"]
staegs = ["ingest"]
"strict" = 1
watch.scope = "x"
groups = {nightly = "a"}

[tool.orch.params]
since = [
  [1],
]

[tool.orch.params."src.parse"]
n = {}
m = [{}]
""",
        },
    )
    assert say(refused(tmp_path, ORCH_JOBS="x", ORCH_STAEGS="x")) == [
        'pyproject.toml:7: unknown setting "staegs" (did you mean "stages"?)',
        '-: ORCH_JOBS must be a whole number, not "x" (write ORCH_JOBS=1)',
        "-: unknown variable ORCH_STAEGS (did you mean ORCH_STAGES?)",
        "pyproject.toml:10: groups.nightly must be a list of strings, not a string"
        ' (write nightly = ["a"])',
        "pyproject.toml:13: params.since must be a string, a number, true, false, a date, or a"
        " list of those (put nested data into a file that the tool reads)",
        "pyproject.toml:19: params.src.parse.m must be a string, a number, true, false, a date,"
        " or a list of those (put nested data into a file that the tool reads)",
        "pyproject.toml:8: strict must be true or false, not a number (write strict = true)",
        'pyproject.toml:9: watch.scope must be "affected" or "stage" or "tool", not "x"'
        ' (the default is "affected")',
        'pyproject.toml:6: "scr" in packages is neither a folder nor a package under pythonpath'
        ' (did you mean "src"?)',
    ]


# Packages.


def test_packages_are_folders_or_dotted_under_pythonpath(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "orch.toml": "packages = ['lib/tools/', 'acme.flow', 'acme', '.']\n"
            "pythonpath = ['src', '.']",
            "src/acme/flow/x.py": "",
            "lib/tools/x.py": "",
        },
    )
    assert config.resolve_packages(read(tmp_path)) == (
        str(tmp_path / "lib/tools"),
        str(tmp_path / "src/acme/flow"),
        str(tmp_path / "src/acme"),
        str(tmp_path),
    )


def test_a_missing_package_is_an_error_wherever_it_was_configured(tmp_path: Path) -> None:
    write(tmp_path, {"orch.toml": "\n\npackages = [\n  'src',\n]", "src/acme/flow/x": "", "f": ""})
    missing = "is neither a folder nor a package under pythonpath"
    assert say(
        refused(tmp_path, ORCH_PACKAGES="src, acme.flwo, zzz, f", ORCH_PYTHONPATH=".,src")
    ) == [
        f'-: "acme.flwo" in ORCH_PACKAGES {missing} (did you mean "acme.flow"?)',
        f'-: "zzz" in ORCH_PACKAGES {missing} (create it, or remove it from the list)',
        '-: "f" in ORCH_PACKAGES is not a folder (name the folder that contains it)',
    ]
    project = read(tmp_path)
    (tmp_path / "src").rename(tmp_path / "srcs")
    with pytest.raises(ProjectError) as caught:
        config.resolve_packages(project)
    assert say(caught.value.problems) == [
        f'orch.toml:3: "src" in packages {missing} (did you mean "srcs"?)'
    ]


def test_a_configured_src_must_be_there_and_an_implied_one_need_not(tmp_path: Path) -> None:
    write(tmp_path, {"orch.toml": ""})
    assert config.resolve_packages(read(tmp_path)) == ()
    write(tmp_path, {"orch.toml": "packages = ['src']"})
    assert len(refused(tmp_path)) == 1


def test_a_package_outside_of_pythonpath_says_what_to_add(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "p/orch.toml": "packages = ['src', 'lib', '../common']\npythonpath = ['src']",
            "p/src/x": "",
            "p/lib/x": "",
            "common/x": "",
            "p/srcs/x": "",
        },
    )
    outside = "is outside of pythonpath, so its modules cannot be imported"
    assert say(refused(tmp_path / "p")) == [
        f'orch.toml:1: "lib" in packages {outside} (add "." to pythonpath)',
        f'orch.toml:1: "../common" in packages {outside} (add ".." to pythonpath)',
    ]


# Lines.


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


# The warm path.


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
