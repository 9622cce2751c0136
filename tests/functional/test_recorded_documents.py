"""Every JSON document has the keys, order and values that are recorded in `tests/cases/documents`.

Other programs read these documents. Sentences, times and paths of the machine are left out of the comparison.
`python -m tests.functional.test_recorded_documents` records them anew: do that only when a document is to gain keys.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.conftest import Orch
from tests.support.project_builder import Answer, run_orch, write_files

RECORDED = Path(__file__).parents[1] / "cases" / "documents"
SAMPLE = Path(__file__).parents[2] / "sample_project"
#: Texts for people, which may be put in other words.
SENTENCES = {"message", "hint", "reason", "reasons", "notes", "text", "traceback"}
TIMES = {"started", "duration", "time", "last_run"}

MIXED = {
    "orch.toml": """
        stages = ["load", "work", "end"]
        groups = {nightly = ["load", "end"]}
        strict = false
        """,
    "orchconf.py": """
        import sqlite3
        from discover_orch import observer, resource

        def get_connection():
            return sqlite3.connect("own.db")

        @resource
        def clock(conn):
            yield 5

        @observer
        def tell(events):
            pass
        """,
    "src/a.py": '''
        """Make a table."""
        from enum import Enum
        from pathlib import Path
        from typing import Literal
        from datetime import date

        class Unit(Enum):
            C = "celsius"
            F = "fahrenheit"

        STAGE = "load"
        ORCH = {"outputs": ["made.txt"]}

        def run(conn, clock, *, unit: Unit = Unit.C, size: Literal["s", "m"] = "s", since: date | None = None,
                names: list[str] = [], dry: bool = False, where: Path = Path("x"), api_key: str = "abc"):
            """Args:
                since: the first day
            """
            conn.execute("CREATE TABLE IF NOT EXISTS a (x)")
            conn.execute("INSERT INTO a VALUES (1)")
            Path("made.txt").write_text("made")
            print("made")
            return {"rows": 1, "share": 0.5}
        ''',
    "src/b.py": """
        STAGE = ("work", "end")
        AFTER = "a"
        ORCH = {"name": "bee", "always": True}
        def run(conn, **extra):
            print(conn.execute("SELECT count(*) FROM a").fetchone())
        """,
    "src/c.py": "STAGE = 'work'\ndef run():\n    raise ValueError('no')\n",
    "src/d.py": "STAGE = 'end'\nAFTER = 'c'\ndef run(day: str = 'x'): open('made.txt').read()\n",
    "src/off.py": "STAGE = None\ndef run(): ...\n",
    "src/near.py": "STAGE = 'work'\n",
    "src/plain.py": "def run(): ...\n",
}
LEAVING = {
    "src/leave.py": "STAGE = 'work'\ndef run(conn):\n"
    "    open('left.txt', 'w').close()\n    conn.execute('CREATE TABLE left_table (x)')\n",
    "src/stay.py": "STAGE = 'work'\nAFTER = 'leave'\ndef run(conn):\n"
    "    open('left.txt').close()\n    conn.execute('SELECT * FROM left_table')\n",
}
BROKEN = {
    "src/broken.py": "STAGE = 'render'\ndef run(:\n",
    "src/odd.py": "STAGE = 'x'\nORCH = {'inputt': 'a'}\nAFTER = 'broke'\ndef run(): ...\n",
    "src/fine.py": "STAGE = 'x'\ndef run(day: str): ...\n",
}


def record_sample(root: Path, orch: Callable[..., Answer]) -> dict[str, object]:
    left = shutil.ignore_patterns(".orch", "__pycache__", "data.db*", "output")
    shutil.copytree(SAMPLE, root, ignore=left)
    documents: dict[str, object] = {
        "list": orch("list", "--json").json,
        "list-sources": orch("list", "--json", "--sources").json,
        "dry-run": orch("run", "-n", "--json", "--since", "2008-11-01").json,
        "run": orch("run", "--json").events,
        "status": orch("status", "--json").json,
        "dry-run-jobs": orch("run", "-n", "--json", "--jobs", "2").json,
        "changed": orch("run", "--changed", "--json").events,
    }
    tool = root / "src" / "pipeline" / "parse.py"
    tool.write_text(tool.read_text(encoding="utf-8") + "\nMORE = 1\n", encoding="utf-8")
    documents["status-stale"] = orch("status", "--json").json
    documents["dry-run-changed"] = orch("run", "-n", "--changed", "--json").json
    documents["run-stage"] = orch("run", "analyze", "--json", "--since", "2008-11-01").events
    documents["status-one"] = orch("status", "render", "--json").json
    documents["accept"] = orch("accept", "parse").code
    documents["status-accepted"] = orch("status", "--json").json
    documents["history"] = orch("history", "--json").json
    return documents


def record_mixed(root: Path, orch: Callable[..., Answer]) -> dict[str, object]:
    write_files(root, MIXED)
    documents: dict[str, object] = {
        "list": orch("list", "--json").json,
        "list-stage": orch("list", "work", "--json", "-v").json,
        "dry-run": orch("run", "-n", "--json", "nightly", "--unit", "F", "-p", "bee.more=1").json,
        "run": orch(
            *("run", "--json", "--size", "m", "-p", "bee.more=1"),
            *("--on-failure", "cat > summary.json"),
        ).events,
        "on-failure": json.loads((root / "summary.json").read_text(encoding="utf-8")),
        "status": orch("status", "--json").json,
        "resume": orch("run", "--resume", "--json").events,
        "nothing": orch("run", "no", "--json").code,
    }
    write_files(root, {"src/c.py": "STAGE = 'work'\ndef run(): pass\n"})
    documents["run-mended"] = orch("run", "--json", "+d").events
    documents["status-mended"] = orch("status", "--json").json
    documents["history"] = orch("history", "--json").json
    documents["history-one"] = orch("history", "1", "--json").json
    documents["history-two"] = orch("history", "1", "3", "--json").json
    documents["history-metrics"] = orch("history", "--metrics", "a", "--json").json
    documents["logs"] = orch("logs", "a", "--json").json
    documents["graph"] = orch("graph", "--json").json
    documents["report"] = orch("report", "--json").json
    documents["report-files"] = orch("report", "--json", "--junit", "x.xml").json
    documents["check"] = orch("check", "--json").json
    documents["lock"] = orch("lock", "--check", "--json").json
    documents["accept"] = orch("accept", "a", "--json").json
    retried = {"retries": 1, "retry_delay": 0}
    write_files(
        root, {"src/c.py": f"STAGE = 'work'\nORCH = {retried}\ndef run(): raise ValueError('no')\n"}
    )
    documents["run-retried"] = orch("run", "c", "--json").events
    as_one = {"ORCH_TRANSACTION": "run"}
    documents["run-as-one"] = orch("run", "a", "--json", env=as_one).events
    write_files(root, LEAVING)
    assert orch("run", "leave", "stay", "-q").code == 0
    write_files(root, {"src/leave.py": "STAGE = 'work'\ndef run(): pass\n"})
    assert orch("run", "leave", "-q").code == 0
    documents["status-left-over"] = orch("status", "leave", "--json").json
    documents["clean"] = orch("clean", "--json").json
    return documents


def record_broken(root: Path, orch: Callable[..., Answer]) -> dict[str, object]:
    write_files(root, BROKEN)
    return {
        "list": orch("list", "--json").json,
        "run": [(answer := orch("run", "fine", "--json")).code, answer.events],
    }


RECORDERS = {"sample": record_sample, "mixed": record_mixed, "broken": record_broken}


@pytest.mark.parametrize("name", RECORDERS)
def test_the_documents_are_as_recorded(name: str, orch: Orch, tmp_path: Path) -> None:
    recorded = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
    made = record(name, tmp_path / "project", orch)
    for document in recorded:
        found, wanted = (json.dumps(one[document], indent=1) for one in (made, recorded))
        assert found == wanted, document
    assert list(made) == list(recorded)


def record(name: str, root: Path, orch: Callable[..., Answer]) -> dict[str, Any]:
    documents = RECORDERS[name](root, orch)
    masked: dict[str, Any] = mask(documents, str(root))
    return masked


def mask(given: object, root: str) -> Any:
    """The document without what differs from run to run; its keys stay, and whether there is anything."""
    match given:
        case dict():
            return {name: _mask_field(name, one, root) for name, one in given.items()}
        case list() | tuple():
            return [mask(one, root) for one in given]
        case str():
            return given.replace(root, "ROOT")
        case _:
            return given


def _mask_field(name: str, given: object, root: str) -> Any:
    if name in TIMES:
        return None if given is None else "TIME" if isinstance(given, str) else 0.0
    if name in SENTENCES and given:
        return ["TEXT"] * len(given) if isinstance(given, list) else "TEXT"
    return mask(given, root)


def main() -> None:
    for name in sys.argv[1:] or RECORDERS:
        with TemporaryDirectory() as folder:
            root = Path(folder) / "project"
            made = record(name, root, partial(run_orch, root))
            text = json.dumps(made, indent=1, ensure_ascii=False)
        (RECORDED / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
