"""Which environment variables count as asked for. Each test has a process of its own, as `os.environ` is changed."""

from __future__ import annotations

import importlib.util
import json
import os
import textwrap
from pathlib import Path

import pytest

from discover_orch.worker.call_stacks import CallStacks
from discover_orch.worker.environment_reads import EnvironmentReads
from discover_orch.worker.project_code import ProjectCode
from tests.support.forked import run_forked

SETTINGS = {"REGION": "eu", "MODE": "dev", "ORCH_JOBS": "2"}


def asked_for(root: Path, code: str, file: str = "tool.py") -> list[str]:
    """The names that this code, in a file below the root, was seen to ask for."""
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("import collections, os, subprocess, sys\n" + textwrap.dedent(code))

    def run() -> str:
        for name in ("MISSING", "OTHER"):
            os.environ.pop(name, None)
        os.environ.update(SETTINGS)
        project = ProjectCode(str(root), [str(root)])
        reads = EnvironmentReads(project, CallStacks(project))
        spec = importlib.util.spec_from_file_location("tool", path)
        assert spec is not None
        assert spec.loader is not None
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        return json.dumps([*reads.names])

    said = run_forked(run)
    assert said.startswith("["), said
    names: list[str] = json.loads(said)
    return names


@pytest.mark.parametrize(
    "code",
    [
        "os.environ['REGION']",
        "os.environ.get('REGION')",
        "os.environ.get('REGION', 'us')",
        "os.getenv('REGION')",
        "'REGION' in os.environ",
        "os.environb[b'REGION']",
        "os.getenvb(b'REGION')",
        "os.environ.setdefault('REGION', 'us')",
        "os.environ.pop('REGION')",
        "os.path.expandvars('$REGION/x')",
        "'{REGION}'.format_map(os.environ)",
        "collections.ChainMap({}, os.environ)['REGION']",
        "list(map(os.environ.get, ['REGION']))",
        "exec('os.environ[\"REGION\"]')",
        "(lambda environ=os.environ: environ['REGION'])()",
        "[os.environ[name] for name in os.environ if name == 'REGION']",
        "[os.environ[name] for name in os.environ.keys() if name == 'REGION']",
        "dict(os.environ); os.environ['REGION']",
    ],
)
def test_a_variable_that_is_asked_for_by_name_counts(tmp_path: Path, code: str) -> None:
    assert asked_for(tmp_path, code) == ["REGION"]


@pytest.mark.parametrize(
    "code",
    [
        "os.environ.get('MISSING')",
        "'MISSING' in os.environ",
        "os.environ.setdefault('MISSING', 'x')",
    ],
)
def test_one_that_is_not_set_counts_too(tmp_path: Path, code: str) -> None:
    assert asked_for(tmp_path, code) == ["MISSING"]


@pytest.mark.parametrize(
    "code",
    [
        "dict(os.environ)",
        "os.environ.copy()",
        "{**os.environ}",
        "{}.update(os.environ)",
        "(lambda **names: None)(**os.environ)",
        "os.environ | {'A': 'b'}",
        "[name for name in os.environ]",
        "sorted(os.environ.items())",
        "[*os.environ.values()]",
        "repr(os.environ), len(os.environ), os.environ == {}",
        "subprocess.run(['true'], env={**os.environ, 'A': 'b'})",
        "subprocess.run(['true'])",
    ],
)
def test_using_the_whole_environment_names_no_variable(tmp_path: Path, code: str) -> None:
    assert asked_for(tmp_path, code) == []


@pytest.mark.parametrize("name", ["PATH", "HOME", "LANG", "COLUMNS", "ORCH_JOBS", "ORCH_INSIDE"])
def test_what_describes_the_session_or_orch_does_not_count(tmp_path: Path, name: str) -> None:
    assert asked_for(tmp_path, f"os.environ.get('{name}')") == []


@pytest.mark.parametrize(
    "file", ["lib/site-packages/installed.py", ".venv/lib/installed.py", "../beside/other.py"]
)
def test_only_the_code_of_the_project_counts(tmp_path: Path, file: str) -> None:
    (tmp_path / "root/.venv").mkdir(parents=True)
    (tmp_path / "root/.venv/pyvenv.cfg").write_text("")
    assert asked_for(tmp_path / "root", "os.environ['REGION']", file) == []


def test_the_environment_still_behaves_as_before(tmp_path: Path) -> None:
    code = """
    assert type(os.environ).__name__ == '_Environ' and isinstance(os.environ, collections.abc.MutableMapping)
    assert os.environ['REGION'] == 'eu' == os.environ.copy()['REGION'] == dict(os.environ)['REGION']
    os.environ['OTHER'] = 'x'
    shell = subprocess.run('echo $OTHER', shell=True, capture_output=True, text=True)
    assert shell.stdout == 'x\\n' and os.environb[b'OTHER'] == b'x'
    del os.environ['OTHER']
    for key, error in (('OTHER', KeyError), (1, TypeError)):
        try:
            os.environ[key]
        except error as raised:
            assert raised.args[0] in ('OTHER', 'str expected, not int')
        else:
            raise AssertionError
    """
    assert asked_for(tmp_path, code) == ["REGION", "OTHER"]
