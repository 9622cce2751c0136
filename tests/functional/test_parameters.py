"""An Enum of an editable package as the type of a parameter. The rest is in `tests/scenes/parameters.scene`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.conftest import Orch, Project
from tests.support.environments import make_environment_with


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
