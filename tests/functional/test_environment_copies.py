"""Environment variables that code means without asking for them by name. Seen through the command line."""

from __future__ import annotations

import sys

import pytest

from tests.conftest import Orch, Project
from tests.support.remembered import ran, reasons

#: As pydantic-settings reads its settings, from a library that is installed.
LIBRARY = """
    import os
    class Settings:
        prefix = ""
        def __init__(self):
            found = {name.lower(): value for name, value in os.environ.items()}
            for name in type(self).__annotations__:
                setattr(self, name, found.get(self.prefix + name, getattr(type(self), name)))
    def ask(name):
        return os.environ.get(name, "")
    """
SETTINGS = {
    "settings_of_a_library": """
        from settings_library import Settings
        class Ours(Settings):
            prefix = "app_"
            region: str = "us"
        def region():
            return Ours().region
        """,
    "settings_that_are_cached": """
        from functools import lru_cache
        from settings_library import Settings
        class Ours(Settings):
            prefix = "app_"
            region: str = "us"
        @lru_cache
        def settings():
            return Ours()
        def region():
            return settings().region
        """,
    "a_copy": """
        import os
        def region():
            return {**os.environ}.get("APP_REGION", "us")
        """,
    "a_call_of_a_library": """
        from settings_library import ask
        def region():
            return ask("APP_REGION") or "us"
        """,
}


USE = """
    from src.common.{how} import region
    STAGE = "s"
    def run():
        open("{name}.txt", "w").write(region())
    """


def test_a_variable_whose_name_the_code_spells_counts(project: Project, orch: Orch) -> None:
    tools = {f"{name}_{how}": how for name in ("one", "two") for how in SETTINGS}
    root = project(
        {
            "orch.toml": 'pythonpath = [".", "lib/site-packages"]\n',
            "lib/site-packages/settings_library.py": LIBRARY,
            "src/common/__init__.py": "",
            **{f"src/common/{how}.py": text for how, text in SETTINGS.items()},
            **{f"src/{name}.py": USE.format(name=name, how=how) for name, how in tools.items()},
            "src/other.py": "STAGE = 's'\ndef run():\n    open('other.txt', 'w').write('')\n",
            "src/starts.py": """
                import os
                STAGE = "s"
                def run():
                    found = {name: os.environ[name] for name in os.environ if name.startswith("WANTED_")}
                    open("starts.txt", "w").write(str(found))
                """,
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert reasons(orch) == {}
    noise = {"TERM": "dumb", "SSH_TTY": "/dev/pts/1", "NEW_NAME": "1", "APP_OTHER": "1"}
    assert reasons(orch, env=noise) == {}
    assert ran(orch("run", "--changed", "--json", env=noise)) == []  # remembers that all is fresh
    here = {"APP_REGION": "eu", **noise}
    found = reasons(orch, env=here)
    for name in tools:
        assert "environment variable APP_REGION" in found[name][0], name
    answer = orch("run", "--changed", "--json", env=here)
    assert ran(answer) == sorted(tools), answer.text
    assert {name: (root / f"{name}.txt").read_text() for name in tools} == dict.fromkeys(
        tools, "eu"
    )
    assert reasons(orch, env=here) == {}
    assert sorted(reasons(orch, env={"APP_REGION": "us"})) == sorted(tools)
    assert sorted(reasons(orch)) == sorted(tools)
    new = reasons(orch, env={**here, "WANTED_NAME": "1"})
    assert new == {"starts": ["the environment variable WANTED_NAME is now set"]}


needs_kernel_events = pytest.mark.skipif(
    sys.platform != "linux", reason="what child processes read is seen on Linux only"
)
CHILDREN = {
    "shell": """
        import subprocess
        STAGE = "s"
        def run():
            subprocess.run(["sh", "fetch.sh"], check=True)
        """,
    "script_without_suffix": """
        import os
        STAGE = "s"
        def run():
            assert os.system("./bin/fetch") == 0
        """,
    "script_of_python": """
        import subprocess, sys
        STAGE = "s"
        def run():
            subprocess.run([sys.executable, "scripts/fetch.py"], check=True)
        """,
    "own_function": """
        import multiprocessing, os
        STAGE = "s"
        def read(_):
            return os.environ.get("REGION", "")
        def run():
            with multiprocessing.get_context("fork").Pool(1) as pool:
                open("own_function.txt", "w").write(pool.map(read, [1])[0])
        """,
    "no_variable": """
        import subprocess
        STAGE = "s"
        def run():
            subprocess.run(["sh", "-c", "sort words.txt > no_variable.txt"], check=True)
        """,
}


@needs_kernel_events
def test_a_variable_that_a_child_process_reads_counts_where_the_project_spells_it(
    project: Project, orch: Orch
) -> None:
    """In a script that its command line names, in code that it loads, and in the tool itself. Also those of an
    `env_file`, and not the words of data."""
    readers = [*CHILDREN]
    readers.remove("no_variable")
    root = project(
        {
            "orch.toml": 'env_file = ".env"\n',
            ".env": "REGION=eu\n",
            "words.txt": "region\n",
            "fetch.sh": 'printf "$REGION" > shell.txt\n',
            "bin/fetch": '#!/bin/sh\nprintf "$REGION" > script_without_suffix.txt\n',
            "scripts/fetch.py": "from helper import region\n"
            "open('script_of_python.txt', 'w').write(region())\n",
            "scripts/helper.py": "import os\ndef region(): return os.environ.get('REGION', '')\n",
            **{f"src/{name}.py": text for name, text in CHILDREN.items()},
        }
    )
    (root / "bin/fetch").chmod(0o755)

    def shown() -> set[str]:
        return {(root / f"{name}.txt").read_text() for name in readers}

    answer = orch("run")
    assert answer.code == 0, answer.text
    assert shown() == {"eu"}
    assert reasons(orch) == {}
    assert reasons(orch, env={"TERM": "dumb", "SSH_TTY": "/dev/pts/1", "NEW_NAME": "1"}) == {}
    (root / ".env").write_text("REGION=us\n")
    assert reasons(orch) == {
        name: ["the environment variable REGION changed"] for name in sorted(readers)
    }
    assert ran(orch("run", "--changed", "--json")) == sorted(readers)
    assert shown() == {"us"}
    assert reasons(orch) == {}
    (root / ".env").write_text("")
    assert ran(orch("run", "--changed", "--json")) == sorted(readers)
    assert shown() == {""}
    assert reasons(orch) == {}
    new = reasons(orch, env={"REGION": "asia"})
    assert new == {name: ["the environment variable REGION is now set"] for name in sorted(readers)}


@needs_kernel_events
def test_a_secret_that_a_child_process_reads_is_not_remembered(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "orch.toml": "",
            "fetch.sh": 'test "$API_TOKEN" && printf "$REGION" > shell.txt\n',
            "src/shell.py": CHILDREN["shell"],
        }
    )
    environment = {"API_TOKEN": "unguessable-word", "REGION": "eu"}
    answer = orch("run", env=environment)
    assert answer.code == 0, answer.text
    assert reasons(orch, env={**environment, "API_TOKEN": "another"}) == {}
    assert sorted(reasons(orch, env={**environment, "REGION": "us"})) == ["shell"]
    kept = b"".join(one.read_bytes() for one in (root / ".orch").rglob("*") if one.is_file())
    assert b"unguessable-word" not in kept
