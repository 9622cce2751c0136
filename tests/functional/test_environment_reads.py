"""Which environment variables count as read: those that code of the project asks for by name, set or not."""

from __future__ import annotations

from tests.conftest import Orch, Project
from tests.support.remembered import reasons

ASKS = (
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
)
ASKS_IN_VAIN = (
    "os.environ.get('MISSING')",
    "'MISSING' in os.environ",
    "os.environ.setdefault('MISSING', 'x')",
)
NAMES_NONE = (
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
    *(f"os.environ.get('{one}')" for one in ("PATH", "HOME", "LANG", "COLUMNS", "ORCH_PARAM_X")),
)
BEHAVES = """
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


def test_a_variable_counts_for_the_tools_whose_code_asks_for_it_by_name(
    project: Project, orch: Orch
) -> None:
    top = "import collections, os, subprocess\nSTAGE = 's'\nAFTER = ()\ndef run():\n"
    kinds = {"asks": ASKS, "in_vain": ASKS_IN_VAIN, "none": NAMES_NONE}
    codes = {
        f"{kind}_{number:02}": code
        for kind, found in kinds.items()
        for number, code in enumerate(found)
    }
    project(
        {
            **{f"src/{name}.py": f"{top}    {code}\n" for name, code in codes.items()},
            "src/behaves.py": top + BEHAVES.replace("\n    ", "\n    ", 1),
        }
    )
    before = {"REGION": "eu", "LANG": "C", "COLUMNS": "80"}
    answer = orch("run", env=before)
    assert answer.code == 0, answer.text
    assert reasons(orch, env=before) == {}

    def find_stale(**changed: str) -> dict[str, str]:
        """The kinds of code that are stale by then, less the tool with several."""
        stale = {name for name in reasons(orch, env=before | changed) if name != "behaves"}
        return {name: codes[name] for name in stale}

    assert find_stale(LANG="C.UTF-8", COLUMNS="90", ORCH_PARAM_X="1") == {}
    assert find_stale(REGION="us") == {n: one for n, one in codes.items() if n[:4] == "asks"}
    assert find_stale(MISSING="1") == {n: one for n, one in codes.items() if n[:7] == "in_vain"}
