"""Environment variables that code means without asking for them by name. Seen through the command line."""

from __future__ import annotations

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
