"""A secret is in no text that leaves orch, and in no file that it keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.project_builder import Answer

SECRET = "open-sesame-4711"
TELLS_ALL = """
    import os, subprocess, sys
    STAGE = "s"
    def run(*, api_key: str = "", db_password: str = "", user: str = "", **more):
        secret = api_key or db_password or more.get("my_token", "")
        print("the secret is", secret, len(secret))
        print("on stderr", secret, file=sys.stderr)
        subprocess.run(["echo", "by a child", secret])
        if user == "fail":
            try:
                raise KeyError(secret)
            except KeyError as error:
                raise ValueError(f"refused: {secret}") from error
        return {"used": secret, secret: 1}
"""


def assert_nowhere(answer: Answer, root: Path, secret: str = SECRET) -> None:
    assert secret not in answer.out
    assert secret not in answer.err
    for path in [*(root / ".orch").rglob("*"), *root.rglob("__pycache__/*")]:
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("words", "environment", "user"),
    [
        (["--api-key", SECRET], {}, "fine"),
        (["--api-key", SECRET], {}, "fail"),
        ([f"--api-key={SECRET}"], {}, "fail"),
        (["-p", f"db_password={SECRET}"], {}, "fail"),
        ([f"-vpa.api_key={SECRET}"], {}, "fine"),
        (["-p", f"my_token={SECRET}"], {}, "fail"),
        ([], {"ORCH_PARAM_API_KEY": SECRET}, "fine"),
        ([], {"ORCH_PARAM_API_KEY": SECRET}, "fail"),
        (["-v", "--json", "--api-key", SECRET], {}, "fine"),
        (["-v", "--json", "--api-key", SECRET], {}, "fail"),
    ],
)
def test_a_secret_parameter_is_used_and_shown_nowhere(
    project: Project, orch: Orch, words: list[str], environment: dict[str, str], user: str
) -> None:
    root = project({"src/a.py": TELLS_ALL})
    answer = orch("run", *words, "--user", user, env=environment)
    assert answer.code == (1 if user == "fail" else 0), answer.text
    assert f"the secret is *** {len(SECRET)}" in answer.out
    assert "by a child ***" in answer.out
    assert_nowhere(answer, root)


def test_an_environment_variable_with_the_name_of_a_secret_is_shown_nowhere(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "src/a.py": """
                import os
                STAGE = "s"
                def run():
                    for name in ("aws_secret_access_key", "SORT_KEY", "APP_CREDENTIALS"):
                        print(name, os.environ[name])
            """,
            "keys/app.json": "{}",
        }
    )
    answer = orch(
        "run",
        env={
            "aws_secret_access_key": SECRET,
            "SORT_KEY": "created_at",
            "APP_CREDENTIALS": "keys/app.json",
        },
    )
    assert "aws_secret_access_key ***" in answer.out
    assert "SORT_KEY created_at" in answer.out
    assert "APP_CREDENTIALS keys/app.json" in answer.out  # the path of a file is no secret
    assert_nowhere(answer, root)


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
    [
        "from dotenv import load_dotenv; load_dotenv()",
        "os.environ['SHOP_TOKEN'] = open('secret').read()",
        "from src import settings",
    ],
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


def test_a_secret_in_the_name_of_anything_that_a_tool_uses_is_kept_nowhere(
    project: Project, orch: Orch
) -> None:
    """A file that is read, written, added to, removed, listed, looked for, asked about or used by a child; a table."""
    root = project(
        {
            "src/a.py": """
                import os, subprocess
                from pathlib import Path
                STAGE = "s"
                def run(conn, *, api_key: str):
                    for name in ("in", "folder/in", "gone"): assert Path(name + api_key).exists()
                    Path("in" + api_key).read_text()
                    Path("out" + api_key).write_text("")
                    with open("log" + api_key, "a") as file: file.write("x")
                    os.unlink("gone" + api_key)
                    os.listdir("folder")
                    os.makedirs("made/" + api_key, exist_ok=True)
                    if not os.path.exists("absent" + api_key): os.path.getsize("in" + api_key)
                    subprocess.run(f"cat in{api_key} > copy{api_key}; ls none{api_key}", shell=True)
                    conn.execute(f'CREATE TABLE IF NOT EXISTS "raw{api_key}"(a)')
                """,
        }
    )
    for number in "12":
        for name in ("in", "folder/in", "gone"):
            (root / (name + SECRET)).parent.mkdir(exist_ok=True)
            (root / (name + SECRET)).write_text(number)
        answer = orch("run", "--api-key", SECRET)
        assert answer.code == 0, answer.text
        assert_nowhere(answer, root)
        assert_nowhere(orch("status", "a", "--api-key", SECRET), root)
    assert "whose name holds a secret" in orch("check").text


def test_a_tool_of_which_a_name_is_not_kept_is_stale_when_what_is_before_it_ran(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "src/a.py": f"""
                from pathlib import Path
                STAGE = "s"
                def run():
                    Path("made_{SECRET}").write_text(Path("wanted").read_text())
                """,
            "src/b.py": f"""
                from pathlib import Path
                STAGE = "s"
                AFTER = "a"
                def run(*, api_key: str):
                    Path("end").write_text(Path("made_{SECRET}").read_text())
                """,
            "wanted": "1",
        }
    )
    words = ("--api-key", SECRET)
    assert orch("run", *words).code == 0
    (root / "wanted").write_text("2")
    assert orch("run", "--changed", *words).code == 0
    assert (root / "end").read_text() == "2"
    assert orch("status", "--exit-code", *words).code == 0


def test_a_secret_from_the_configuration_is_shown_nowhere(project: Project, orch: Orch) -> None:
    root = project({"orch.toml": f'[params]\napi_key = "{SECRET}"\n', "src/a.py": TELLS_ALL})
    answer = orch("run", "-v", "--user", "fail")
    assert answer.code == 1
    assert "the secret is ***" in answer.out
    assert_nowhere(answer, root)


def test_a_short_secret_is_not_typed_out_either(project: Project, orch: Orch) -> None:
    project({"src/a.py": 'STAGE = "s"\ndef run(*, api_key: str, n: int = 0): 1 / 0\n'})
    answer = orch("run", "--api-key", "s3", "-p", "api_key=s4", "--n", "5")
    assert (
        "resume with: orch run --resume\n    give --api-key again, or set ORCH_PARAM" in answer.out
    )


def test_every_line_of_a_secret_of_many_lines_is_hidden(project: Project, orch: Orch) -> None:
    secret = "-----BEGIN KEY-----\nMIIBVgIBADANBgkq\nhkiG9w0BAQEFAASC\n"
    root = project({"src/a.py": TELLS_ALL})
    answer = orch("run", "--api-key", secret, "--user", "fail")
    assert answer.code == 1
    for line in secret.splitlines():
        assert_nowhere(answer, root, line)


def test_a_value_that_does_not_convert_is_not_shown(project: Project, orch: Orch) -> None:
    root = project({"src/a.py": 'STAGE = "s"\ndef run(*, pin_token: int = 0): pass\n'})
    answer = orch("run", "--pin-token", SECRET)
    assert answer.code == 2
    assert_nowhere(answer, root)


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


def test_a_resume_line_can_be_pasted_and_names_what_must_be_given_again(
    project: Project, orch: Orch
) -> None:
    text = 'STAGE = "s"\ndef run(*, api_key: str, n: int = 0, **more): print(more, 1 / n)\n'
    project({"src/a.py": text})
    url = f"sqlite:///data.db?password={SECRET}"
    words = ("--api-key", SECRET, "-p", "my_token=x")
    answer = orch("run", *words)
    assert "give --api-key and -p my_token again: secrets are not stored\n" in answer.out
    again = orch("run", "--resume", "--n", "1")
    assert again.code == 2  # nothing runs with a placeholder
    assert (
        "error: a needs api_key again: secrets are not stored\n  hint: set ORCH_PARAM_API_KEY,"
        in again.err
    )
    assert "  hint: add -p my_token=VALUE\n" in again.err
    again = orch("run", "--resume", "-p", "my_token=y", "--n", "1", env={"ORCH_PARAM_API_KEY": "z"})
    assert again.code == 0, again.text
    project({"src/a.py": 'STAGE = "s"\nimport b\ndef run(*, n: int = 0): 1 / n\n', "b.py": ""})
    url = f"postgresql://user:{SECRET}@host/db"
    assert orch("run", env={"DATABASE_URL": url}).code == 1
    refused = orch("run", "--resume", "--n", "1")
    assert "its password was not recorded\n  hint: give it again with --database URL" in refused.err
    assert orch("run", "--resume", "--n", "1", env={"DATABASE_URL": url}).code == 0


def test_the_password_of_any_url_is_shown_nowhere(project: Project, orch: Orch) -> None:
    """Also of a parameter with another name, of a variable that orch does not know, and in a default."""
    root = project(
        {
            "src/a.py": """
                import os
                STAGE = "s"
                def run(*, dsn: str, other: str = "amqp://u:default-4711@mq", n: int = 0):
                    print("dsn", dsn, dsn.split(":")[2].split("@")[0])
                    print("shop", os.environ["SHOP"], "short", "https://u:pw@host/x?y=z@w")
                    print("port http://host:8080/a@b, time 12:30, mail a@b.example")
                    if n == 0:
                        raise ValueError(dsn)
            """
        }
    )
    url = f"postgresql://ada:{SECRET}@host/db"
    words = ("--dsn", url)
    shop = {"SHOP": f"redis://:{SECRET}x@cache"}
    answer = orch("run", *words, env=shop)
    assert "    dsn postgresql://ada:***@host/db ***\n" in answer.out
    assert "    shop redis://:***@cache short https://u:***@host/x?y=z@w\n" in answer.out
    assert "    port http://host:8080/a@b, time 12:30, mail a@b.example\n" in answer.out
    assert "ValueError: postgresql://ada:***@host/db\n" in answer.out
    assert_nowhere(answer, root)
    assert_nowhere(orch("run", *words, "--json", env=shop), root)
    for command in ("run -n -v", "run -n --json", "list --json", "run --help", "status a"):
        given = () if command.startswith("list") else words
        shown = orch(*command.split(), *given)
        assert_nowhere(shown, root)
        assert "amqp://u:***@mq" in shown.text or command == "status a", shown.text
        assert "default-4711" not in shown.text
    kept = [one.read_bytes() for one in (root / ".orch").rglob("*") if one.is_file()]
    assert b"default-4711" not in b"".join(kept)
    assert "give --dsn again, or set ORCH_PARAM_DSN" in answer.out
    assert "error: a needs dsn again" in orch("run", "--resume", "--n", "1").err
    assert orch("run", *words, "--n", "1", env=shop).code == 0
    fresh = orch("status", "a", "--dsn", url.replace(SECRET, "another"), "--n", "1", env=shop)
    # The password does not count, the host does.
    assert fresh.out.startswith("a  fresh\n"), fresh.text
    stale = orch("status", "a", "--dsn", url.replace("host", "elsewhere"), "--n", "1", env=shop)
    assert "--dsn: postgresql://ada:***@host/db → postgresql://ada:***@elsewhere/db" in stale.out
    assert_nowhere(stale, root)


def test_the_password_of_a_database_is_hidden_where_a_tool_prints_it(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "orch.toml": f'database = "postgresql://user:{SECRET}@host/db"',
            "src/a.py": f'STAGE = "s"\ndef run():\n    print("{SECRET[:4]}" + "{SECRET[4:]}")\n    1 / 0\n',
        }
    )
    answer = orch("run")
    assert "    ***\n" in answer.out
    assert SECRET not in answer.out
    assert root.exists()


def test_a_resource_that_tells_a_secret_when_it_is_closed(project: Project, orch: Orch) -> None:
    root = project(
        {
            "orchconf.py": """
                from discover_orch import resource
                @resource
                def keeper():
                    kept = []
                    yield kept
                    raise ValueError(f"kept {kept[0]}")
            """,
            "src/a.py": 'STAGE = "s"\ndef run(keeper, *, api_key: str): keeper.append(api_key)\n',
        }
    )
    answer = orch("run", "--api-key", SECRET)
    assert answer.code == 1
    assert "closing keeper: kept ***" in answer.err
    assert_nowhere(answer, root)
