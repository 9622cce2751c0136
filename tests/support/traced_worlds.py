"""Random pipelines of Python, polars, shell and C, as data: tools are lists of operations, rendered to source text.

A tool writes a digest of its code's constant and of all that it has read, so a stale result is seen. Every world is
deterministic, a run from scratch succeeds, and nothing but logs depends on what an earlier run has left:

- a file is made by its first writer; later tools may read it, overwrite it, or read and overwrite it
- within a stage, the names of the tools are in an order that is right; a tool that declares AFTER declares all of it,
  and so does one that declares its inputs, as it may run beside others, and one that writes what an earlier tool of its
  stage has used: what is observed would say the contrary
- `raw/` belongs to the user; what may be missing there is only asked for or listed
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from textwrap import dedent

STAGES = ("one", "two", "three")
NAMES = "abcdef"
KINDS = ("python", "polars", "shell", "c")
RAW = ("raw/a.txt", "raw/b.txt", "raw/c.txt", "raw/d.txt")
OPTIONAL = ("raw/opt1.txt", "raw/opt2.txt")
LISTED = ("raw/in/one.txt", "raw/in/two.txt", "raw/in/three.txt")  # the first one is always there
NOTES = ("notes/todo.md", "raw/unused.txt")  # no tool uses them
READS = ("read", "maybe", "list", "update")
WRITES = ("write", "update", "append", "split")


@dataclass(frozen=True)
class Op:
    """`is_atomic`: what is written is renamed to its place. `split` writes a folder of one to three files, as many as
    its inputs say, and replaces the whole of it."""

    kind: str
    path: str
    is_atomic: bool = False


@dataclass(frozen=True)
class Tool:
    """`after` is None where the tool does not declare it; `is_declared`: its inputs and outputs are."""

    name: str
    stage: str
    kind: str
    ops: tuple[Op, ...]
    after: tuple[str, ...] | None = None
    is_declared: bool = False

    def paths(self, kinds: tuple[str, ...]) -> list[str]:
        return [op.path for op in self.ops if op.kind in kinds]


@dataclass(frozen=True)
class World:
    """`tools` are in the order of a full run."""

    tools: tuple[Tool, ...]

    def outputs(self) -> list[str]:
        """What later tools and the user may use: no logs."""
        return sorted({path for tool in self.tools for path in tool.paths(("write",))})


@dataclass
class State:
    """What the user has done so far: versions of raw files, of code and of comments, and files that are missing."""

    versions: dict[str, int] = field(default_factory=dict)
    comments: dict[str, int] = field(default_factory=dict)
    absent: set[str] = field(default_factory=lambda: {OPTIONAL[0], LISTED[2]})

    def key(self) -> str:
        """The same for two states with the same result."""
        versions = {name: one for name, one in self.versions.items() if name not in self.absent}
        return repr((sorted(versions.items()), sorted(self.absent)))


# ---- random worlds ----


def random_world(chance: random.Random) -> World:
    number = chance.choice((3, 4, 4, 5, 6))
    stages = sorted(chance.choices(range(len(STAGES)), k=number))
    tools: list[Tool] = []
    users: dict[str, list[Tool]] = {}  # of each output: who has read or written it
    for name, stage in zip(NAMES, stages, strict=False):
        kind = chance.choice(KINDS)
        ops = [_random_read(chance, users, kind) for _ in range(chance.choice((1, 1, 2, 3)))]
        ops += _random_writes(chance, users, name, kind)
        ops = list({op.path: op for op in ops}.values())
        near: set[str] = set()
        for op in ops:
            found = users.get(op.path, [])
            if op.kind in READS and op.kind != "update":
                found = [one for one in found if op.path in one.paths(WRITES)]
            near |= {one.name for one in found if one.stage == STAGES[stage]}
        is_second = any(op.path in users for op in ops if op.kind in ("write", "update"))
        is_declared = chance.random() < 0.15
        has_after = chance.random() < (0.75 if near else 0.6)
        has_after = has_after or (bool(near) and (is_second or is_declared))
        after = tuple(sorted(near)) if has_after else None
        tool = Tool(name, STAGES[stage], kind, tuple(ops), after, is_declared)
        tools.append(tool)
        for op in ops:
            if op.kind in ("write", "update", "split") or op.path in users:
                users.setdefault(op.path, []).append(tool)
    return World(tuple(tools))


def _random_read(chance: random.Random, users: Mapping[str, list[Tool]], kind: str) -> Op:
    made = [path for path in users if kind == "polars" or not path.endswith(".parquet")]
    number = chance.random()
    if made and number < 0.5:
        path = chance.choice(made)
        return Op("list" if path.endswith(".parts") else "read", path)
    if number < 0.8:
        return Op("read", chance.choice(RAW))
    return Op("maybe", chance.choice(OPTIONAL)) if number < 0.9 else Op("list", "raw/in")


def _random_writes(
    chance: random.Random, users: Mapping[str, list[Tool]], name: str, kind: str
) -> list[Op]:
    ops = [Op("write", f"out/{name}.txt", chance.random() < 0.3)]
    if kind == "polars" and chance.random() < 0.6:
        ops.append(Op("write", f"out/{name}.parquet", chance.random() < 0.3))
    elif chance.random() < 0.3:
        ops.append(Op("write", f"out/{name}2.txt", chance.random() < 0.3))
    shared = [path for path in users if path.endswith(".txt")]
    if shared and chance.random() < 0.25:
        ops.append(
            Op(chance.choice(("write", "update")), chance.choice(shared), chance.random() < 0.3)
        )
    if chance.random() < 0.25:
        ops.append(Op("split", f"out/{name}.parts"))
    if chance.random() < 0.4:
        ops.append(Op("append", f"out/{name}.log"))
    if chance.random() < 0.4:
        ops.append(Op("scratch", f"tmp-{name}"))
    return ops


def declare(world: World) -> World:
    """The same world for where the kernel is not asked: what native code and child processes use is declared.

    What they made is not known there one by one, so they replace no folder.
    """
    native = [tool for tool in world.tools if tool.kind != "python"]
    folders = {path for tool in native for path in tool.paths(("split",))}
    tools: list[Tool] = []
    for tool in world.tools:
        tool = replace(tool, ops=tuple(op for op in tool.ops if op.path not in folders))
        if tool.kind != "python":
            near = tuple(one.name for one in tools if one.stage == tool.stage)
            tool = replace(tool, is_declared=True, after=near if tool.after is None else tool.after)
        tools.append(tool)
    return World(tuple(tools))


# ---- as files ----


def user_files(world: World, state: State) -> dict[str, str]:
    """All that belongs to the user, but the compiled program."""
    files = {"orch.toml": 'stages = ["one", "two", "three"]\n', "out/": ""}
    for path in (*RAW, *OPTIONAL, *LISTED, *NOTES):
        if path not in state.absent:
            files[path] = f"{path} {state.versions.get(path, 0)}\n"
    for tool in world.tools:
        files[f"src/{tool.name}.py"] = tool_text(
            tool, state.versions.get(tool.name, 0), state.comments.get(tool.name, 0)
        )
    return files


def tool_text(tool: Tool, version: int, comment: int) -> str:
    tag = "" if tool.after is None else f"AFTER = {tool.after!r}\n"
    keys: dict[str, object] = {}
    if tool.is_declared:
        reads = [op for op in tool.ops if op.kind in READS]
        keys["inputs"] = [f"{op.path}/*" if op.kind == "list" else op.path for op in reads]
        keys["outputs"] = tool.paths(("write", "update"))
    if tool.paths(("split",)):
        keys["replaces"] = [f"{path}/**" for path in tool.paths(("split",))]
    tag += f"ORCH = {keys}\n" * bool(keys)
    body = {"python": _python, "polars": _polars, "shell": _shell, "c": _c}[tool.kind](tool)
    return f'# comment {comment}\nSTAGE = "{tool.stage}"\n{tag}SALT = "salt {version}"\n{body}'


_PYTHON = """
import hashlib, os
def read(path):
    with open(path) as file:
        return file.read()
def write(path, text, is_atomic):
    with open(path + ".part" if is_atomic else path, "w") as file:
        file.write(text)
    if is_atomic:
        os.replace(path + ".part", path)
def maybe(path):
    return read(path) if os.path.exists(path) else "absent"
def list_all(folder):
    return "".join(name + read(f"{folder}/{name}") for name in sorted(os.listdir(folder)))
def scratch(path, text):
    write(path, text, False)
    text = read(path)
    os.remove(path)
    return text
"""
_POLARS = """
import hashlib, os
import polars
HOW = {"has_header": False, "separator": "|", "quote_char": None, "infer_schema": False}
def read(path):
    if path.endswith(".parquet"):
        return "".join(polars.read_parquet(path).to_series(0))
    return "".join(polars.read_csv(path, **HOW).to_series(0))
def write(path, text, is_atomic):
    target = path + ".part" if is_atomic else path
    frame = polars.DataFrame({"x": [text.rstrip()]})
    if path.endswith(".parquet"):
        frame.write_parquet(target)
    else:
        frame.write_csv(target, include_header=False)
    if is_atomic:
        os.replace(target, path)
def maybe(path):
    try:
        return read(path)
    except FileNotFoundError:
        return "absent"
def list_all(folder):
    frame = polars.scan_csv(f"{folder}/*.txt", include_file_paths="path", **HOW).collect()
    return repr(frame.sort("path").rows())
def scratch(path, text):
    write(path + ".parquet", text, False)
    text = read(path + ".parquet")
    os.remove(path + ".parquet")
    return text
"""


def _python(tool: Tool, head: str = _PYTHON) -> str:
    calls = {"read": "read", "update": "read", "maybe": "maybe", "list": "list_all"}
    lines = ["text = SALT"]
    lines += [f"text += {calls[op.kind]}({op.path!r})" for op in tool.ops if op.kind in calls]
    lines += [f"text = scratch({path!r}, text)" for path in tool.paths(("scratch",))]
    lines.append("digest = hashlib.sha1(text.encode()).hexdigest()")
    for op in tool.ops:
        if op.kind in ("write", "update"):
            text = f'f"{tool.name} {op.path} {{digest}}\\n"'
            lines.append(f"write({op.path!r}, {text}, {op.is_atomic})")
        elif op.kind == "split":
            part = f'f"{op.path}/{{number}}.txt", f"{tool.name} {{number}} {{digest}}\\n", {op.is_atomic}'
            lines.append(f"os.makedirs({op.path!r}, exist_ok=True)")
            lines.append(f"for number in range(int(digest[:4], 16) % 3 + 1): write({part})")
        elif op.kind == "append":
            lines.append(f'with open({op.path!r}, "a") as file: file.write("ran\\n")')
    return head + "def run():\n" + "".join(f"    {line}\n" for line in lines)


def _polars(tool: Tool) -> str:
    return _python(tool, _POLARS)


def _shell(tool: Tool) -> str:
    reading = ['echo "$SALT"']
    for op in tool.ops:
        if op.kind in ("read", "update"):
            reading.append(f"cat {op.path}")
        elif op.kind == "maybe":
            reading.append(f"if [ -f {op.path} ]; then cat {op.path}; else echo absent; fi")
        elif op.kind == "list":
            reading.append(f'for file in {op.path}/*; do echo "$file"; cat "$file"; done')
    lines = ["set -e", f"collect() {{ {'; '.join(reading)}; }}"]
    if tool.paths(("scratch",)):
        lines += [
            "made=$(mktemp)",
            f"collect > {tool.name}.tmp",
            f"cat {tool.name}.tmp > $made",
            "digest=$(cksum < $made | tr ' ' -)",
            f"rm $made {tool.name}.tmp",
        ]
    else:
        lines.append("digest=$(collect | cksum | tr ' ' -)")
    for op in tool.ops:
        if op.kind in ("write", "update"):
            target = f"{op.path}.part" if op.is_atomic else op.path
            lines.append(f'echo "{tool.name} {op.path} $digest" > {target}')
            lines += [f"mv {target} {op.path}"] * op.is_atomic
        elif op.kind == "split":
            lines += [
                f"mkdir -p {op.path}",
                "count=$(( ${digest%%-*} % 3 ))",
                f'for number in $(seq 0 $count); do echo "$number $digest" > {op.path}/$number.txt; done',
            ]
        elif op.kind == "append":
            lines.append(f"echo ran >> {op.path}")
    script = "\n".join(lines)
    return dedent('''
        import os, subprocess
        SCRIPT = r"""
        %s
        """
        def run():
            subprocess.run(SCRIPT, shell=True, check=True, env={**os.environ, "SALT": SALT})
        ''') % script  # fmt: skip


def _c(tool: Tool) -> str:
    letters = {"scratch": "x", "split": "p"}
    words = [
        f"{letters.get(op.kind, op.kind[0])}{'a' if op.is_atomic else '-'}{op.path}"
        for op in tool.ops
    ]
    return f"""
import subprocess
def run():
    subprocess.run(["bin/step", {tool.name!r}, SALT, *{words!r}], check=True)
"""


#: The program behind the tools of C: its words are its name, a salt, and operations: `r-PATH` reads, `m-` reads what
#: may be missing, `l-` lists, `w-` and `wa` write (`a`: and rename), `u` reads and writes, `a-` appends, `p-` writes
#: one to three files to a folder, `x-` is scratch.
STEP_C = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned long long digest = 14695981039346656037ULL;

static void add(const char *text, long count) {
    for (long at = 0; at < count; at++) digest = (digest ^ (unsigned char)text[at]) * 1099511628211ULL;
}

static void read_from(int folder, const char *path, int may_be_missing) {
    char text[4096];
    long count;
    int file = openat(folder, path, O_RDONLY);
    if (file < 0) {
        if (!may_be_missing || errno != ENOENT) { perror(path); exit(2); }
        add("absent", 6);
        return;
    }
    while ((count = read(file, text, sizeof text)) > 0) add(text, count);
    close(file);
}

static int keep(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static void list(const char *path) {
    struct dirent **names;
    int folder = open(path, O_RDONLY | O_DIRECTORY);
    int count = scandir(path, &names, keep, alphasort);
    for (int at = 0; at < count; at++) {
        add(names[at]->d_name, strlen(names[at]->d_name));
        read_from(folder, names[at]->d_name, 0);
    }
    close(folder);
}

static void write_to(const char *path, const char *text, int flags) {
    int file = open(path, O_WRONLY | O_CREAT | flags, 0644);
    if (file < 0 || write(file, text, strlen(text)) < 0) { perror(path); exit(3); }
    close(file);
}

int main(int count, char **words) {
    char text[4096], part[4096];
    add(words[2], strlen(words[2]));
    for (int at = 3; at < count; at++) {
        const char *path = words[at] + 2;
        switch (words[at][0]) {
        case 'r': case 'u': read_from(AT_FDCWD, path, 0); break;
        case 'm': read_from(AT_FDCWD, path, 1); break;
        case 'l': list(path); break;
        case 'x':
            write_to(path, "scratch", O_TRUNC);
            read_from(AT_FDCWD, path, 0);
            unlink(path);
        }
    }
    for (int at = 3; at < count; at++) {
        const char *path = words[at] + 2;
        if (words[at][0] == 'a') write_to(path, "ran\n", O_APPEND);
        if (words[at][0] == 'p') {
            mkdir(path, 0755);
            for (unsigned number = 0; number <= digest % 3; number++) {
                snprintf(part, sizeof part, "%s/%u.txt", path, number);
                snprintf(text, sizeof text, "%u %016llx\n", number, digest);
                write_to(part, text, O_TRUNC);
            }
        }
        if (words[at][0] != 'w' && words[at][0] != 'u') continue;
        snprintf(text, sizeof text, "%s %s %016llx\n", words[1], path, digest);
        if (words[at][1] != 'a') { write_to(path, text, O_TRUNC); continue; }
        snprintf(part, sizeof part, "%s.part", path);
        write_to(part, text, O_TRUNC);
        if (rename(part, path)) { perror(path); return 4; }
    }
    return 0;
}
"""
