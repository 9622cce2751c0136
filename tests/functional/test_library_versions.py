"""The libraries and the Python that a tool was run with count. What else does is in `tests/scenes/what_counts.scene`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from discover_orch.staleness.memory import Memory
from tests.conftest import Orch, Project
from tests.support.remembered import reasons

PACKAGE = Path(__file__).parents[2]


def install(site: Path, name: str, version: str, *requirements: str, code: str = "") -> None:
    """As pip does, in the place of another version."""
    for old in site.glob(f"{name}-*.dist-info"):
        shutil.rmtree(old)
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {one}\n" for one in requirements)
        + "\nRequires-Dist: nothing that a description says\n"
    )
    (folder / "RECORD").write_text(f"{name}/__init__.py,,\n")
    (site / name).mkdir(exist_ok=True)
    (site / name / "__init__.py").write_text(code)


@pytest.mark.slow
def test_a_library_counts_for_the_tools_whose_code_imports_it_or_what_requires_it(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    install(site, "numbery", "1.26.0")
    install(
        site,
        "framey",
        "1.0",
        "numbery>=1",
        "loggy; python_version > '3'",
        "plotty; extra == 'plot'",
    )
    install(site, "loggy", "1.0", "framey")
    install(site, "plotty", "1.0")
    install(site, "allery", "1.0", "framey[plot] ; os_name == 'other'")
    tool = "{}\nSTAGE = 's'\nAFTER = ()\ndef run(): {}\n"
    project(
        {
            "orch.toml": 'pythonpath = ["src"]',
            "src/a.py": tool.format("import numbery", "pass"),
            "src/b.py": tool.format("", "import numbery"),
            "src/c.py": tool.format("", "pass"),
            "src/d.py": tool.format("import helper", "helper.frame()"),
            "src/helper.py": "def frame():\n    import framey\n",
            "src/e.py": tool.format(
                "from importlib import import_module", "import_module('allery')"
            ),
            "src/f.py": tool.format(
                "from importlib import import_module", "import_module('plug' + 'in')"
            ),
            "src/plugin.py": "import plotty\n",
        }
    )
    how = {"env": {"PYTHONPATH": f"{PACKAGE}{os.pathsep}{site}"}}
    assert orch("run", **how).code == 0
    assert reasons(orch, **how) == {}
    install(site, "numbery", "2.0.0")
    changed = ["numbery: 1.26.0 → 2.0.0"]
    assert reasons(orch, **how) == dict.fromkeys("abde", changed)
    assert reasons(orch)["a"] == ["numbery 1.26.0 is no longer installed"]
    assert orch("run", "--changed", **how).code == 0
    assert reasons(orch, **how) == {}
    install(site, "plotty", "2.0")
    assert reasons(orch, **how) == {name: ["plotty: 1.0 → 2.0"] for name in "ef"}
    install(site, "plotty", "1.0")
    install(site, "loggy", "1.1")
    assert reasons(orch, **how) == {name: ["loggy: 1.0 → 1.1"] for name in "de"}


def test_what_other_tools_have_loaded_makes_no_difference(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    """`eagery` loads what it does not require, and a tool before the second one has loaded it already."""
    site = tmp_path / "site-packages"
    install(site, "numbery", "1.0")
    install(site, "eagery", "1.0", code="import numbery")
    tool = "import eagery\nSTAGE = 's'\nAFTER = ()\ndef run(): pass\n"
    project({"orch.toml": "", "src/a.py": tool, "src/b.py": tool})
    how = {"env": {"PYTHONPATH": f"{PACKAGE}{os.pathsep}{site}"}}
    assert orch("run", **how).code == 0
    install(site, "numbery", "2.0")
    assert reasons(orch, **how) == {}
    install(site, "eagery", "2.0")
    assert reasons(orch, **how) == {name: ["eagery: 1.0 → 2.0"] for name in "ab"}


def test_a_library_that_is_installed_later_counts_for_code_that_tries_to_import_it(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    tool = "try:\n    import fasty\nexcept ImportError:\n    fasty = None\nSTAGE = 's'\ndef run(): pass\n"
    project({"orch.toml": "", "src/a.py": tool})
    how = {"env": {"PYTHONPATH": f"{PACKAGE}{os.pathsep}{tmp_path / 'site'}"}}
    assert orch("run", **how).code == 0
    assert reasons(orch, **how) == {}
    install(tmp_path / "site", "fasty", "3.1")
    assert reasons(orch, **how) == {"a": ["fasty 3.1 was installed"]}


def test_the_minor_version_of_python_counts(project: Project, orch: Orch) -> None:
    root = project({"orch.toml": "", "src/a.py": "STAGE = 's'\ndef run(): pass\n"})
    assert orch("run").code == 0
    memory = Memory(str(root))
    result = memory.results(["src.a"])["src.a"]
    assert result.success is not None
    inputs = result.success.inputs
    old = replace(inputs, other={**inputs.other, "python": "3.7"})
    memory.write(replace(result, success=replace(result.success, inputs=old)))
    assert reasons(orch) == {"a": [f"Python: 3.7 → {inputs.other['python']}"]}
