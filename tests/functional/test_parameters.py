"""The signature of `run()` is the command line: options, types, where values come from, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.conftest import Orch, Project
from tests.support.environments import make_environment_with


def test_a_secret_is_never_shown_and_never_written_to_disk(project: Project, orch: Orch) -> None:
    root = project(
        {
            "src/one.py": """
                from src.constants import S
                STAGE = S
                def run(*, api_key: str = "default-secret-1", db_password: int = 0, token="tok-2"):
                    ...
                """,
            "src/constants.py": "S = 's'\nAPI_KEY = 'constant-secret-3'\n",
            "orch.toml": "params = {api_key = 'file-secret-4'}",
        }
    )
    secrets = ("default-secret-1", "constant-secret-3", "file-secret-4", "typed-secret-5", "tok-2")
    for words in (
        ("list",),
        ("list", "--json"),
        ("list", "--json"),
        ("run", "-n", "-v"),
        ("run", "-n", "-v", "--api-key", "typed-secret-5"),
        ("run", "-n", "--json", "-p", "api_key=typed-secret-5"),
        ("run", "-n", "--db-password", "typed-secret-5"),
        ("run", "--help"),
        ("check",),
    ):
        answer = orch(*words)
        assert not any(secret in answer.out + answer.err for secret in secrets), answer.text
    assert "api_key = ***  orch.toml" in orch("run", "-n", "-v").out
    for path in (root / ".orch").rglob("*"):
        if path.is_file():
            assert not any(secret in path.read_text("utf-8", "replace") for secret in secrets), path


def test_list_shows_the_default_of_a_path_and_of_an_enum_as_a_value(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "src/kinds.py": """
                from enum import Enum
                class Color(Enum):
                    RED = "red"
                    BLUE = "blue"
                """,
            "src/one.py": """
                from datetime import date
                from enum import IntEnum
                from pathlib import Path
                from src import kinds
                from src.kinds import Color
                STAGE = "s"
                HERE = Path(__file__).parent
                class Level(IntEnum):
                    LOW = 1
                def run(
                    out: Path = Path("data") / "out.csv",
                    also: list[Path] = [Path("a"), Path("b/c")],
                    near: Path = HERE / "x.csv",
                    paint: Color = Color.BLUE,
                    paints: list[kinds.Color] = [kinds.Color.RED, Color.BLUE],
                    level: Level = Level.LOW,
                    gone: Color = Color.GREEN,
                    other: Color = Level.LOW,
                    day: date = date(2024, 1, 31),
                    api_key: Path = Path("secret"),
                ): ...
                """,
        }
    )
    (tool,) = orch("list", "--json").json["tools"]
    assert {one["name"]: one["default"] for one in tool["params"]} == {
        "out": "data/out.csv",
        "also": ["a", "b/c"],
        "near": None,
        "paint": "blue",
        "paints": ["red", "blue"],
        "level": "1",
        "gone": None,
        "other": None,
        "day": None,
        "api_key": None,
    }
    assert tool["params"][0]["default_source"] == "Path('data') / 'out.csv'"
    plan = orch("run", "-n", "--json").json["tools"][0]["params"]
    assert plan["paint"] == {"value": "blue", "origin": "default"}


def test_an_enum_of_an_editable_package_becomes_a_type_by_pythonpath(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    python = make_environment_with(tmp_path / "sibling", tmp_path / "venv")
    package = tmp_path / "sibling/shared"
    (package / "kinds.py").write_text("from enum import Enum\nclass Color(Enum):\n    RED = 'r'\n")
    project(
        {
            "orch.toml": "",
            "src/a.py": """
                from shared.kinds import Color
                STAGE = "s"
                def run(color: Color): print(color)
            """,
        }
    )
    how: dict[str, Any] = {"prefix": (python,), "env": {"PYTHONPATH": ""}}
    assert orch("list", **how).code == 4
    project({"orch.toml": 'pythonpath = [".", "../sibling"]\n'})
    assert "Color.RED" in orch("run", "-p", "color=r", **how).out
