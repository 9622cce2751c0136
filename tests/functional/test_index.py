"""The index in `.orch/` may save time, and never decides what is found."""

from __future__ import annotations

import pytest

from tests.conftest import Orch, Project
from tests.support.permissions import bound_by_permissions

TOOL = "STAGE = 'ingest'\ndef run(): ...\n"


def names(orch: Orch) -> list[str]:
    answer = orch("list", "--json")
    assert answer.code == 0, answer.text
    return [tool["name"] for tool in answer.json["tools"]]


def test_it_ignores_itself_for_git_and_may_be_deleted(project: Project, orch: Orch) -> None:
    root = project({"src/a.py": TOOL})
    first = orch("list")
    assert (root / ".orch/.gitignore").read_text().endswith("\n*\n")
    for path in (root / ".orch").iterdir():
        path.unlink()
    (root / ".orch").rmdir()
    assert orch("list") == first


def test_every_change_of_the_tree_is_seen(project: Project, orch: Orch) -> None:
    root = project({"src/a.py": TOOL})
    assert names(orch) == ["a"]
    project({"src/deep/er/b.py": TOOL})
    assert names(orch) == ["a", "b"]
    (root / "src/a.py").rename(root / "src/c.py")
    assert names(orch) == ["c", "b"]
    project({"src/c.py": TOOL.replace("ingest", "ignore")})
    assert orch("list").out.startswith("ignore\n")
    (root / "src/c.py").unlink()
    assert names(orch) == ["b"]
    project({"orch.toml": 'exclude = ["deep"]', "src/d.py": TOOL})
    assert names(orch) == ["d"]
    project({"src/pyvenv.cfg": "", "src/e/pyvenv.cfg": "", "src/e/x.py": TOOL})
    assert "x" not in orch("list", "-v").out.split("not tools")[0]


def test_orchconf_that_comes_and_goes_is_seen(project: Project, orch: Orch) -> None:
    root = project({"src/a.py": "STAGE = 's'\ndef run(http=None): ...\n"})
    assert "--http" in orch("list").out
    project({"orchconf.py": "from discover_orch import resource\n@resource\ndef http(): ...\n"})
    assert "--http" not in orch("list").out
    (root / "orchconf.py").unlink()
    assert "--http" in orch("list").out


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "foreign", "folder"])
def test_a_damaged_index_costs_nothing_but_time(damage: str, project: Project, orch: Orch) -> None:
    root = project({"src/a.py": TOOL, "src/b.py": TOOL})
    before = orch("list")
    index = root / ".orch" / "files"
    data = index.read_bytes()
    if damage == "folder":
        index.unlink()
        index.mkdir()
    else:
        middle = len(data) // 2
        index.write_bytes(
            {
                "empty": b"",
                "cut": data[:middle],
                "flipped": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
                "foreign": b"\x80\x04pickled\n" + data,
            }[damage]
        )
    assert orch("list") == before
    assert orch("run", "-n").code == 0


def test_a_read_only_project_works_without_it(project: Project, orch: Orch) -> None:
    root = project({"src/a.py": TOOL})
    root.chmod(0o555)
    try:
        for words in (("list",), ("run", "-n"), ("check",), ("graph",)):
            answer = orch(*words, prefix=bound_by_permissions())
            assert (answer.code, answer.err) == (0, ""), words
        assert not (root / ".orch").exists()
    finally:
        root.chmod(0o755)


def test_what_may_not_be_read_is_said(project: Project, orch: Orch) -> None:
    root = project({"orch.toml": "", "src/a.py": TOOL, "src/b/c.py": TOOL, "src/d.py": TOOL})
    for name, said in (
        ("src/b", "warning: src/b: cannot be listed: Permission denied"),
        ("src/d.py", "error: src/d.py: cannot be read: Permission denied"),
        ("orch.toml", "error: orch.toml: the configuration cannot be read: Permission denied"),
    ):
        (root / name).chmod(0)
        assert orch("list", prefix=bound_by_permissions()).err.startswith(said)
        (root / name).chmod(0o755)


def test_a_project_may_be_moved(project: Project, orch: Orch) -> None:
    root = project({"src/a.py": TOOL})
    assert orch("list", "--json").json["root"] == str(root)
    moved = root.rename(root.parent / "moved")
    assert orch("list", "--json", cwd=moved).json["root"] == str(moved)
