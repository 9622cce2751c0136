"""Random pipelines on a database, and what happens to them, as data: tools of Python and SQL, an editing user, other
programs, restored backups, and a second checkout.

Every world is deterministic: a run from scratch succeeds, and makes what any earlier state of the database does not
change. A table is made anew by its first writer; later tools change it, and name that order where stages do not.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

STAGES = ("load", "work", "show")
FILES = ("data/a.txt", "data/b.txt")


@dataclass(frozen=True)
class Op:
    """What a tool does to the table, view, function, index or trigger `name`; `others` are tables that it reads, `uses`
    functions that it calls."""

    kind: str
    name: str
    others: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tool:
    name: str
    stage: int
    ops: tuple[Op, ...]
    is_sql: bool
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """`kind` is `check` or `run`, with `name` of one tool; `save` or `restore` a backup; or what happens to the file or
    tool `name` or, by another program, to a table. `other`: it happens in the second checkout."""

    kind: str
    name: str = ""
    other: bool = False


@dataclass(frozen=True)
class History:
    dialect: str
    tools: tuple[Tool, ...]
    steps: tuple[Step, ...]


@dataclass
class State:
    """What the user of one checkout has written."""

    versions: dict[str, int] = field(default_factory=dict)
    comments: dict[str, int] = field(default_factory=dict)

    def key(self) -> str:
        return repr(sorted(self.versions.items()))


# ---- statements; {n} is the name, {v} a number that each version of the tool has of its own, {s} a query ----

DROP = {"postgresql": " CASCADE"}
OPS = {
    "create": "DROP TABLE IF EXISTS {n}{cascade}; CREATE TABLE {n} AS {s}",
    "fill": "CREATE TABLE IF NOT EXISTS {n} (x BIGINT, y BIGINT, t BIGINT); DELETE FROM {n}; INSERT INTO {n} {s}",
    "view": "DROP VIEW IF EXISTS {n}{cascade}; CREATE VIEW {n} AS {s}",
    "update": "UPDATE {n} SET y = y * 3 + {v}",
    "add": "INSERT INTO {n} {s}",
    "index": "DROP INDEX IF EXISTS {n}; CREATE INDEX {n} ON {o} ({column})",
}
FUNCTIONS = {
    "postgresql": "DROP FUNCTION IF EXISTS {n} CASCADE; "
    "CREATE FUNCTION {n}(a BIGINT) RETURNS BIGINT LANGUAGE sql AS 'SELECT a * 5 + {v}'",
    "duckdb": "CREATE OR REPLACE MACRO {n}(a) AS a * 5 + {v}",
}
TRIGGERS = {
    "sqlite": "DROP TRIGGER IF EXISTS {n}; CREATE TRIGGER {n} AFTER INSERT ON {o} BEGIN "
    "UPDATE {o} SET t = t + {v} WHERE rowid = NEW.rowid; END",
    "postgresql": "DROP TRIGGER IF EXISTS {n} ON {o}; "
    "CREATE OR REPLACE FUNCTION {n}() RETURNS trigger LANGUAGE plpgsql AS "
    "'BEGIN NEW.t := NEW.t + {v}; RETURN NEW; END'; "
    "CREATE TRIGGER {n} BEFORE INSERT ON {o} FOR EACH ROW EXECUTE FUNCTION {n}()",
}
#: A tool in Python puts together what it has read itself.
PYTHON = """\
    rows = [tuple(row) for row in conn.execute("{s}").fetchall()]
    conn.execute("DROP TABLE IF EXISTS {n}{cascade}")
    conn.execute("CREATE TABLE {n} (x BIGINT, y BIGINT, t BIGINT)")
    for row in rows:
        conn.execute("INSERT INTO {n} VALUES ({marks})", row)
"""
FROM_FILE = """\
    conn.execute("DROP TABLE IF EXISTS {n}{cascade}")
    conn.execute("CREATE TABLE {n} (x BIGINT, y BIGINT, t BIGINT)")
    for number in range(3):
        value = int(Path("{o}").read_text())
        conn.execute("INSERT INTO {n} VALUES ({marks})", (number, value * number + {v}, number % 2))
"""
TO_SQL = """\
    import pandas
    frame = pandas.read_sql("{s}", conn)
    frame.to_sql("{n}", conn, if_exists="replace", index=False)
"""
WRITE_FILE = """\
    rows = sorted(tuple(row) for row in conn.execute("{s}").fetchall())
    Path("out").mkdir(exist_ok=True)
    Path("out/{n}.txt").write_text(repr(rows))
"""
IN_PYTHON = {"python": PYTHON, "file": FROM_FILE, "to_sql": TO_SQL, "export": WRITE_FILE}
MAKERS = ("create", "fill", "python", "to_sql", "view")


def query(op: Op, version: int) -> str:
    """One row for each row of what it reads. A WITH has the name of a table, as in projects of dbt."""
    y = f"y + {version}"
    for function in op.uses:
        y = f"{function}({y})"
    if not op.others:
        return f"SELECT CAST(1 AS BIGINT) AS x, CAST({y.replace('y', '7')} AS BIGINT) AS y, CAST(0 AS BIGINT) AS t"
    first = op.others[0]
    rest = "".join(
        f" UNION ALL SELECT x + 10, y, t FROM (SELECT * FROM {one} WHERE t >= 0) AS {one}_rows"
        for one in op.others[1:]
    )
    return (
        f"WITH {first}_0 AS (SELECT * FROM {first}), others AS (SELECT x, y, t FROM {first}_0{rest}) "
        f"SELECT CAST(x AS BIGINT) AS x, CAST({y} AS BIGINT) AS y, CAST(t AS BIGINT) AS t FROM others"
    )


def statement(op: Op, dialect: str, version: int) -> str:
    template = {**OPS, "function": FUNCTIONS.get(dialect, ""), "trigger": TRIGGERS.get(dialect, "")}
    template |= IN_PYTHON
    return template[op.kind].format(
        n=op.name,
        o=op.others[0] if op.others else "",
        s=query(op, version),
        v=version + 1,
        cascade=DROP.get(dialect, ""),
        marks=", ".join(["%s" if dialect == "postgresql" else "?"] * 3),
        column="xyt"[version % 3],
    )


def parts(text: str) -> list[str]:
    """The statements; the body of a trigger or function is one."""
    found: list[str] = []
    for part in text.split("; "):
        is_inside = found and (
            found[-1].count("BEGIN") > found[-1].count("END") or found[-1].count("'") % 2
        )
        if is_inside:
            found[-1] += f"; {part}"
        else:
            found.append(part)
    return found


def tool_file(tool: Tool, dialect: str, state: State) -> tuple[str, str]:
    """Its name and text."""
    version, comments = state.versions.get(tool.name, 0), state.comments.get(tool.name, 0)
    if tool.is_sql:
        after = f"-- AFTER: {', '.join(tool.after)}\n" if tool.after else ""
        lines = [f"{part};" for op in tool.ops for part in parts(statement(op, dialect, version))]
        text = f"-- STAGE: {STAGES[tool.stage]}\n{after}\n" + "-- comment\n" * comments
        return f"src/{tool.name}.sql", text + "\n".join(lines) + "\n"
    body = ""
    for op in tool.ops:
        text = statement(op, dialect, version)
        if op.kind in IN_PYTHON:
            body += text
        else:
            body += "".join(f"    conn.execute({part!r})\n" for part in parts(text))
    head = "# comment\n" * comments + "from pathlib import Path\n\n"
    head += f"STAGE = {STAGES[tool.stage]!r}\nAFTER = {tool.after!r}\n"
    return f"src/{tool.name}.py", f"{head}\n\ndef run(conn):\n{body}"


def user_files(history: History, state: State) -> Mapping[str, str]:
    files = {name: f"{state.versions.get(name, 0) + 2}\n" for name in FILES}
    return files | dict(tool_file(tool, history.dialect, state) for tool in history.tools)


# ---- random ones ----


def random_history(seed: int, dialect: str, *, has_pandas: bool) -> History:
    chance = random.Random(seed)
    tools = random_tools(chance, dialect, has_pandas=has_pandas)
    steps: list[Step] = []
    for _ in range(chance.choice((2, 3, 3, 4))):
        steps += [random_step(chance, tools) for _ in range(chance.choice((1, 1, 2, 3)))]
        if chance.random() < 0.3:
            steps.append(Step("run", chance.choice(tools).name, chance.random() < 0.3))
        steps.append(Step("check", other=chance.random() < 0.25))
    return History(dialect, tools, (*steps, Step("check")))


def random_tools(chance: random.Random, dialect: str, *, has_pandas: bool) -> tuple[Tool, ...]:
    makers = [one for one in MAKERS if one != "to_sql" or (has_pandas and dialect == "sqlite")]
    tools: list[Tool] = []
    tables: list[str] = []  # that can be changed
    remade: list[str] = []  # those of them that are dropped, and their triggers with them
    all_read: list[str] = []
    functions: list[str] = []
    for number in range(chance.randrange(3, 8)):
        name = "abcdefgh"[number]
        stage = min(2, number // 3)
        kinds = ["create" if not tables else "file", *makers]
        if tables:
            kinds += ["update", "add", "index", "export", "update", "add"]
            kinds += ["trigger"] * (dialect in TRIGGERS and bool(remade))
        kinds += ["function"] * (dialect in FUNCTIONS)
        ops: list[Op] = []
        for place in range(chance.choice((1, 1, 1, 2))):
            kind = chance.choice(kinds) if number else chance.choice(("create", "file", "fill"))
            others = tuple(chance.sample(all_read, min(len(all_read), chance.choice((1, 1, 2)))))
            uses = tuple(chance.sample(functions, min(len(functions), chance.choice((0, 1)))))
            new = f"{name}{place}"
            if kind == "file":
                ops.append(Op(kind, new, (chance.choice(FILES),)))
            elif kind in ("update", "add"):
                target = chance.choice(tables)
                read = tuple(
                    one for one in others if one != target and not is_on(one, target, tools, ops)
                )
                ops.append(
                    Op(kind, target, read if kind == "add" else (), uses if kind == "add" else ())
                )
            elif kind in ("index", "trigger"):
                target = chance.choice(remade if kind == "trigger" else tables)
                ops.append(Op(kind, f"{kind[0]}_{new}", (target,)))
            elif kind == "function":
                ops.append(Op(kind, f"f_{new}"))
            else:
                ops.append(Op(kind, new, others, uses))
        is_sql = chance.random() < 0.5 and not any(op.kind in IN_PYTHON for op in ops)
        tool = Tool(name, stage, tuple(ops), is_sql)
        tools.append(replace(tool, after=earlier(tool, tools)))
        for op in ops:
            if op.kind in (*MAKERS, "file"):
                all_read.append(op.name)
                tables += [op.name] * (op.kind != "view")
                remade += [op.name] * (op.kind not in ("view", "fill"))
            functions += [op.name] * (op.kind == "function")
    return tuple(tools)


def is_on(name: str, target: str, tools: list[Tool], ops: list[Op]) -> bool:
    """Whether this view reads the target, so that what is added is in what is read."""
    made = [op for tool in tools for op in tool.ops] + ops
    views = {op.name: op.others for op in made if op.kind == "view"}
    return name == target or any(is_on(one, target, tools, ops) for one in views.get(name, ()))


def earlier(tool: Tool, tools: list[Tool]) -> tuple[str, ...]:
    """Those of its stage before it that use anything that it uses, also through views."""
    views = {op.name: op for one in (*tools, tool) for op in one.ops if op.kind == "view"}
    used = through(names(tool), views)
    return tuple(
        one.name for one in tools if one.stage == tool.stage and through(names(one), views) & used
    )


def through(found: set[str], views: Mapping[str, Op]) -> set[str]:
    more = {name for one in found & {*views} for name in (*views[one].others, *views[one].uses)}
    return found if more <= found else through(found | more, views)


def names(tool: Tool) -> set[str]:
    return {name for op in tool.ops for name in (op.name, *op.others, *op.uses)}


def random_step(chance: random.Random, tools: tuple[Tool, ...]) -> Step:
    tool = chance.choice(tools).name
    tables = [op.name for one in tools for op in one.ops if op.kind in (*MAKERS, "file")]
    foreign = [
        op.name
        for one in tools
        for op in one.ops
        if op.kind in (*MAKERS, "file") and op.kind != "view"
    ]
    is_other = chance.random() < 0.3
    kind, name = chance.choice(
        [
            *[("edit", tool)] * 5,
            *[("edit", chance.choice(FILES))] * 3,
            ("comment", tool),
            ("save", ""),
            ("save", ""),
            *[("restore", "")] * 3,
            *[("insert", chance.choice(foreign))] * 2,
            ("delete", chance.choice(foreign)),
            ("drop", chance.choice(tables)),
            ("change", chance.choice(foreign)),
        ]
    )
    return Step(kind, name, is_other and kind in ("edit", "comment"))


def smaller(history: History) -> Iterator[History]:
    for place in range(len(history.steps) - 1):
        steps = history.steps[:place] + history.steps[place + 1 :]
        yield replace(history, steps=steps)
    for place, tool in enumerate(history.tools):
        rest = history.tools[:place] + history.tools[place + 1 :]
        made = {op.name for op in tool.ops if op.kind in (*MAKERS, "file", "function")}
        is_used = any(made & names(one) for one in rest)
        if (
            rest
            and not is_used
            and not any(step.name == tool.name or step.name in made for step in history.steps)
        ):
            tools = tuple(
                replace(one, after=tuple(name for name in one.after if name != tool.name))
                for one in rest
            )
            yield replace(history, tools=tools)
        if len(tool.ops) > 1:
            for number, op in enumerate(tool.ops):
                if not any(op.name in names(one) for one in rest) and all(
                    step.name != op.name for step in history.steps
                ):
                    ops = tool.ops[:number] + tool.ops[number + 1 :]
                    if op.name not in {
                        name for one in ops for name in (one.name, *one.others, *one.uses)
                    }:
                        fewer = (replace(tool, ops=ops),)
                        yield replace(
                            history,
                            tools=history.tools[:place] + fewer + history.tools[place + 1 :],
                        )
