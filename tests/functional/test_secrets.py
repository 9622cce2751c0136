"""Secrets that the process sets itself, and passwords of servers. The rest is in `tests/scenes/secrets.scene`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.marks import slow_but
from tests.support.project_builder import Answer

SECRET = "open-sesame-4711"


def assert_nowhere(answer: Answer, root: Path, secret: str = SECRET) -> None:
    assert secret not in answer.out
    assert secret not in answer.err
    for path in [*(root / ".orch").rglob("*"), *root.rglob("__pycache__/*")]:
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


SETS_ITS_SECRETS = """
    import json, logging, os, subprocess, sys
    STAGE = "s"
    {how}
    def run():
        secret = os.environ["SHOP_TOKEN"]
        logging.warning("logged %s", secret)
        sys.stdout.write("printed " + secret + chr(10))
        print(repr({{"token": secret}}), json.dumps([secret]), f"{{secret!a}}", sep=chr(10))
        print("in colour", "\\x1b[31m".join([secret[:5], secret[5:9], secret[9:]]) + "\\x1b[0m")
        subprocess.run(["sh", "-c", 'printf "by a child %s\\n" "$SHOP_TOKEN"; echo x > "by_a_child_$SHOP_TOKEN"'])
        for name in (secret, "other"):
            with open(f"added_{{name}}", "a") as file:
                file.write("x")
            os.makedirs(f"made_{{name}}", exist_ok=True)
        subprocess.run(["touch", "touched_" + secret])
        if os.path.exists("fail"):
            raise ValueError(f"refused {{secret}}")
        return {{"used": secret}}
    """


@pytest.mark.parametrize("secret", [SECRET, "se'cr\"et\\\\of\\tüs-4711"], ids=["plain", "quoted"])
@pytest.mark.parametrize(
    "how",
    slow_but(
        {"from src import settings"},
        [
            "from dotenv import load_dotenv; load_dotenv()",
            "os.environ['SHOP_TOKEN'] = open('secret').read()",
            "from src import settings",
        ],
    ),
)
def test_a_secret_that_the_process_sets_itself_is_shown_nowhere(
    project: Project, orch: Orch, how: str, secret: str
) -> None:
    quoted = secret.replace("\\", "\\\\").replace("'", "\\'")
    root = project(
        {
            ".env": f"SHOP_TOKEN='{quoted}'\n",
            "secret": secret,
            "src/settings.py": "import os\nos.environ.update(SHOP_TOKEN=open('secret').read())\n",
            "src/a.py": SETS_ITS_SECRETS.format(how=how),
            "src/b.py": SETS_ITS_SECRETS.format(how=how),
        }
    )
    answers = [orch("run", "--color", "always")]
    assert answers[0].code == 0, answers[0].text
    shown = answers[0].out
    for line in ("logged ***", "printed ***", "{'token': '***'}", '["***"]', "by a child ***"):
        assert shown.count(line) == 2, shown
    assert shown.count("in colour ***\x1b[31m\x1b[31m\x1b[0m") == 2, shown
    project({"fail": ""})
    answers += [orch("run", "--json"), orch("run", "--jobs", "2", "--junit", "j.xml")]
    assert answers[1].code == answers[2].code == 1
    answers += [orch(*words) for words in (["logs", "a"], ["status", "a"], ["report", "-o", "-"])]
    for answer in answers:
        for form in {
            secret,
            *(json.dumps(secret, ensure_ascii=one)[1:-1] for one in (True, False)),
        }:
            assert_nowhere(answer, root, form)
    assert secret not in (root / "j.xml").read_text()


def test_the_password_of_a_database_is_shown_nowhere(project: Project, orch: Orch) -> None:
    root = project(
        {
            "src/a.py": 'STAGE = "s"\ndef run(conn): pass\n',
            "src/b.py": 'STAGE = "s"\ndef run(): 1 / 0',
        }
    )
    url = f"postgresql://user:{SECRET}@host/db"
    answer = orch("run", "--database", url)
    assert "cannot connect to postgresql://user:***@host/db" in " ".join(answer.out.split())
    assert_nowhere(answer, root)
    answer = orch("run", "b", "--database", url)
    assert answer.code == 1
    assert "database postgresql://user:***@host/db (--database)" in answer.out
    again = "give --database again, or set ORCH_DATABASE: secrets are not stored"
    assert f"resume with: orch run --resume\n    {again}\n" in answer.out
    assert_nowhere(answer, root)
    assert_nowhere(orch("run", "--json", "--database", url), root)
    assert_nowhere(orch("run", env={"ORCH_DATABASE": url}), root)
    assert_nowhere(orch("run", env={"DATABASE_URL": url}), root)
