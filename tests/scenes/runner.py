"""Reads, runs and records scenes: transcripts of what a user types and sees.

A file `NAME.scene` holds many short scenes on one topic. What stands before the first one is the project from which
each scene starts anew. The first characters of a line say what it is:

    # text         a comment; `# slow`: this scene, or before the first one all of the file, runs with the slow tests
    == name        a scene begins
    + src/a.py     writes this file; the lines below, indented by two spaces, are its text (`+ data/` makes a folder)
    $ orch list    a command in a pipe, at 80 columns: `orch` with words and variables (`FOO=x orch run`) runs in the
                   fork server, anything else (`sed`, `rm`, pipes, `;`, `python`) in bash, which knows `orch` too
                   (and `sql 'SELECT ...'`, for data.db or the file that is named behind)
    $ brief        `orch run`, of which only what ran and what the tools printed is shown
    % orch list    the same `orch` on a terminal of 80 columns; what it wiped is left out
      text         what the command printed on stdout
    ! text         what it printed on stderr
    exit 2         its exit code, where it is not 0

`␛` stands for an escape character, `␍` for a carriage return, and so on.

Write the files and the commands, then `python -m tests.scenes WORD` fills in what is shown, for the scenes whose name or
file contains the word, and `git diff` shows it for review. It does so again after a message has changed.

A line `...` stands for any lines. JSON (or lines of it) is compared as values: `"..."` stands for any value, a key
`"..."` for all other keys, a last item `"..."` for all other items. Recording keeps these where they match. Times,
durations, process ids, the version, the marks below lines of tracebacks, the pieces in which output comes and the folder of the project
(`/home/someone/project`) are normalised; nothing else.
"""

from __future__ import annotations

import datetime
import difflib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from discover_orch import __version__
from tests.support.fork_server import CLIENT, ForkServer
from tests.support.project_builder import Answer, clean_environment, run_orch
from tests.support.running import on_terminal

FOLDER = Path(__file__).parent
ANY = "..."
HOME = "/home/someone"  # as long as the folder of a scene, so that lines wrap as they would there
VARYING_KEYS = {"time", "started", "duration", "ended", "pid"}
VARYING = (
    (re.compile(r"\b\d+\.\d\d s\b|\b\d\d\.\d s\b"), "0.00 s"),
    (
        re.compile(r"(?<!2024-\d\d-\d\d.)\b\d\d:\d\d:\d\d\b(\.\d+)?"),
        "12:34:56",
    ),  # not those of users
    (re.compile(r"(?<=\bsince )\d\d:\d\d\b"), "12:34"),
    (re.compile(r"(?<=\bpid )\d+|(?<=\bprocess )\d+"), "4711"),
    (re.compile(re.escape(__version__)), "VERSION"),
    (re.compile(r"(?<=\[OPTIONS\]) COMMAND (?=\[ARGS\])"), " [COMMAND] "),  # click before 8.2
)
#: Below a line of a traceback, also of one in JSON; it differs from one version of Python to the next.
MARKED = re.compile(r"^ +[~^]+\n|(?<=\\n) +[~^]+\\n", re.MULTILINE)
#: Lines of a run that `brief` shows: what runs, failures, and what tools print, indented.
BRIEF = re.compile(r"(?:running|nothing to run).*|    (?=[^✓])(.*)")
QUOTED = re.compile(r"""'[^']*'|"[^"$`]*\"""")
FOR_THE_SHELL = re.compile(r"[|;&<>`$~*?{(]")
ALONE = re.compile(
    r"[^&>]&[^&>]|&$|>&-|kill|trap|timeout|exec|ulimit|PYTHON|PATH=|TZ=|env |python|rmdir"
)
SHELL = """
orch() { if [ -n "$SERVER" ]; then "$PYTHON" -IS -c "$CLIENT" "$SERVER" "$@"; else "$PYTHON" -m discover_orch "$@"; fi; }
python() { "$PYTHON" "$@"; }
sql() { "$PYTHON" -c "import sqlite3, sys
with sqlite3.connect(sys.argv[2] if len(sys.argv) > 2 else 'data.db') as conn:
    for row in conn.execute(sys.argv[1]): print(*row)" "$@"; }
"""


@dataclass(frozen=True)
class Step:
    """One file or command; its lines in the file are `start` to `end`, from 0, without the one that begins it."""

    kind: str  # `+`, `$` or `%`
    text: str
    start: int
    end: int
    body: str  # the text of the file, or what is expected on stdout
    err: str = ""
    code: int = 0


@dataclass(frozen=True)
class Scene:
    path: Path
    name: str
    line: int
    steps: tuple[Step, ...]  # those of the project that its file begins with, too
    is_slow: bool = False

    def __str__(self) -> str:
        return f"{self.path.stem}: {self.name}"


def read_scenes(path: Path) -> list[Scene]:
    """Raises ValueError with the line of what is no part of a scene."""
    lines = path.read_text("utf-8").splitlines()
    shared: list[Step] = []
    scenes: list[Scene] = []
    steps, number, is_slow = shared, 0, False
    while number < len(lines):
        line, kind = lines[number], lines[number][:2]
        number += 1
        if kind == "==":
            steps = shared.copy()
            scenes.append(Scene(path, line[2:].strip(), number, (), is_slow))
        elif kind in {"+ ", "$ ", "% "}:
            start, words = number, line[2:].strip()
            while number < len(lines) and re.match(r"  |!|exit \d+$|\s*$", lines[number]):
                number += 1
            end = number
            while end > start and not lines[end - 1].strip():
                end -= 1
            steps.append(_read_step(line[0], words, lines, start, end))
        elif line == "# slow" and scenes:
            scenes[-1] = replace(scenes[-1], is_slow=True)
        elif line == "# slow":
            is_slow = True
        elif line.strip() and not line.startswith("#"):
            raise ValueError(f"{path}:{number}: not part of a scene: {line}")
        if scenes:
            scenes[-1] = replace(scenes[-1], steps=tuple(steps))
    return scenes


def _read_step(kind: str, words: str, lines: list[str], start: int, end: int) -> Step:
    out: list[str] = []
    err: list[str] = []
    code = 0
    for line in lines[start:end]:
        if line.startswith("!"):
            err.append(line[2:])
        elif line.startswith("exit "):
            code = int(line[5:])
        else:
            out.append(line[2:])
    return Step(kind, words, start, end, "\n".join(out), "\n".join(err), code)


class Mismatch(AssertionError):
    """A command showed something else; it is printed without a traceback."""


def check(scene: Scene, server: ForkServer) -> None:
    """Raises Mismatch with a unified diff of the first command that shows something else."""
    for step, answer in play(scene, server):
        expected, shown = render(step.body, step.err, step.code), actual_text(step, answer)
        if expected != shown:
            place = f"{os.path.relpath(scene.path)}:{step.start}"
            diff = difflib.unified_diff(
                expected.splitlines(), shown.splitlines(), place, "shown now", lineterm="", n=5
            )
            raise Mismatch(f"{place}: {step.kind} {step.text}\n" + "\n".join(diff))


def record(path: Path, scenes: Sequence[Scene], server: ForkServer) -> bool:
    """Writes what is shown now into the file. Whether that changed it."""
    texts: dict[int, tuple[Step, str]] = {}
    for scene in scenes:
        texts.update(
            (step.start, (step, actual_text(step, answer))) for step, answer in play(scene, server)
        )
    lines = before = path.read_text("utf-8").splitlines()
    for start, (step, text) in sorted(texts.items(), reverse=True):
        lines = [*lines[:start], *text.splitlines(), *lines[step.end :]]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return lines != before


def play(scene: Scene, server: ForkServer) -> Iterator[tuple[Step, Answer]]:
    """Runs the steps in a new folder, and gives each command with what it showed."""
    with tempfile.TemporaryDirectory(prefix="", dir="/tmp", ignore_cleanup_errors=True) as home:
        root = Path(home, "project")
        root.mkdir()
        for step in scene.steps:
            if step.kind == "+":
                path = root / step.text
                (path if step.text.endswith("/") else path.parent).mkdir(
                    parents=True, exist_ok=True
                )
                if not step.text.endswith("/"):
                    path.write_text(step.body + "\n" if step.body else "", "utf-8")
                continue
            answer = _run(step, root, home, server)
            yield (
                step,
                Answer(answer.code, *(normalise(one, home) for one in (answer.out, answer.err))),
            )


def _run(step: Step, root: Path, home: str, server: ForkServer) -> Answer:
    env = {"HOME": home, "SHELL": "/bin/bash"}
    words = shlex.split(step.text)
    while re.match(r"[A-Z_]+=", words[0]):
        name, _, env[name] = words.pop(0).partition("=")
    if step.kind == "%":
        with on_terminal(root, *words[1:], columns=80, program="", **env) as process:
            code = process.wait()
        return Answer(code, re.sub(r".*\x1b\[J|.*\r\x1b\[K", "", process.text), "")
    if words[0] == "brief":
        answer = server.run(root, "run", *words[1:], env=env)
        found = filter(None, map(BRIEF.fullmatch, answer.out.splitlines()))
        return replace(answer, out="\n".join(one[1] or one[0] for one in found))
    if words[0] == "orch" and not FOR_THE_SHELL.search(QUOTED.sub("", step.text)):
        if any(name.startswith(("PYTHON", "TZ")) for name in env):
            return run_orch(root, *words[1:], env=env)
        return server.run(root, *words[1:], env=env)
    # A command that is to be killed, or has variables of Python, is started as it is.
    is_forked = not ALONE.search(step.text)
    shell = {"SERVER": server.socket, "CLIENT": CLIENT} if is_forked else {"SERVER": ""}
    done = subprocess.run(
        ["timeout", "60", "bash", "-c", SHELL + step.text],
        cwd=root,
        env=clean_environment(HOME=home, PYTHON=sys.executable, **shell),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return Answer(
        done.returncode, *(one.decode("utf-8", "replace") for one in (done.stdout, done.stderr))
    )


def normalise(text: str, home: str) -> str:
    text = text.replace(home, HOME).replace(sys.executable, "/usr/bin/python3")
    for day in {datetime.datetime.now().date(), datetime.datetime.now(datetime.UTC).date()}:
        text = re.sub(rf"\b{day}([ T]\d\d:\d\d)?(?=\D|$)", _fixed_time, text)
    for pattern, instead in VARYING:
        text = pattern.sub(instead, text)
    text = MARKED.sub("", text)
    return re.sub(r"[\x00-\x08\x0b-\x1f]", lambda found: chr(0x2400 + ord(found[0])), text)


def _fixed_time(found: re.Match[str]) -> str:
    return "2030-12-31" + (f"{found[1][0]}12:34" if found[1] else "")


def render(out: str, err: str, code: int) -> str:
    """As it stands in the file."""
    lines = [f"  {line}".rstrip() for line in out.rstrip("\n").split("\n")] if out.strip() else []
    lines += [f"! {line}".rstrip() for line in err.rstrip("\n").split("\n")] if err.strip() else []
    return "\n".join(lines + [f"exit {code}"] * bool(code))


def actual_text(step: Step, answer: Answer) -> str:
    """What the command showed, as it would be recorded; where the step's expectation matches it, that."""
    return render(merge(step.body, answer.out), merge(step.err, answer.err), answer.code)


def merge(expected: str, text: str) -> str:
    """`expected` if `text` is as it says, else `text`; in JSON with the placeholders that `expected` has."""
    values, old = read_json(text), read_json(expected)
    if values is not None:
        if old is not None and len(old) == len(values) and all(map(matches, old, values)):
            return expected
        old = old if old is not None and len(old) == len(values) else [None] * len(values)
        return "\n".join(json_lines(blank(*pair)) for pair in zip(old, values, strict=True))
    lines = [line.rstrip() for line in expected.rstrip("\n").split("\n")]
    found = "\n".join(line.rstrip() for line in text.rstrip("\n").split("\n"))
    pattern = "\n".join(
        re.escape(line) if line.strip() != ANY else "(?:.*\n)*?.*" for line in lines
    )
    return expected if re.fullmatch(pattern, found) else text


def read_json(text: str) -> list[Any] | None:
    """The values of a document or of lines, None if it is something else."""
    if not text.startswith(("{", "[")):
        return None
    decoder, at = json.JSONDecoder(object_pairs_hook=_build_object), 0
    try:
        return [decoder.decode(text)]
    except ValueError:
        pass
    values: list[Any] = []
    try:
        while at < len(text.rstrip()):
            value, at = decoder.raw_decode(text, at)
            at = len(text) - len(text[at:].lstrip())
            if values and _is_more_output(value, values[-1]):
                values[-1]["text"] += value["text"]
            else:
                values.append(value)
    except ValueError:
        return None
    return values


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a key that stands twice JSON keeps the last value, so the first one would never be compared."""
    found = dict(pairs)
    assert len(found) == len(pairs), f"a key stands twice: {', '.join(name for name, _ in pairs)}"
    return found


def _is_more_output(value: Any, last: Any) -> bool:
    """In how many pieces the output of a tool comes is up to the machine."""
    return bool(
        isinstance(value, dict)
        and value.get("event") == "tool_output"
        and [last.get(key) for key in ("event", "name", "stream")]
        == [value.get(key) for key in ("event", "name", "stream")]
    )


def matches(expected: Any, value: Any) -> bool:
    if expected == ANY:
        return True
    if isinstance(expected, dict) and isinstance(value, dict):
        others = value.keys() - expected.keys()
        return (not others or ANY in expected) and all(
            name in value and matches(one, value[name])
            for name, one in expected.items()
            if name != ANY
        )
    if isinstance(expected, list) and isinstance(value, list):
        if expected and expected[-1] == ANY:
            return len(value) >= len(expected) - 1 and all(map(matches, expected[:-1], value))
        return len(value) == len(expected) and all(map(matches, expected, value))
    return bool(type(expected) is type(value) and expected == value)


def blank(old: Any, value: Any) -> Any:
    """`value` with placeholders for what varies, and with those of `old`."""
    if old == ANY:
        return ANY
    if isinstance(value, dict):
        known = old if isinstance(old, dict) else {}
        kept = value if ANY not in known else {name: value[name] for name in known if name in value}
        varying = {name: ANY for name in kept if name in VARYING_KEYS and kept[name] is not None}
        others = {ANY: ANY} if ANY in known else {}
        return {name: blank(known.get(name), one) for name, one in kept.items()} | varying | others
    if isinstance(value, list):
        known_items = old if isinstance(old, list) else []
        if known_items and known_items[-1] == ANY:
            value = [*value[: len(known_items) - 1], ANY]
        return [
            blank(known_items[at] if at < len(known_items) else None, one)
            for at, one in enumerate(value)
        ]
    return value


def json_lines(value: Any, indent: str = "", room: int = 110) -> str:
    """JSON that is broken into lines only where it does not fit into one."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) + len(indent) <= room or not isinstance(value, dict | list):
        return text
    deeper = indent + " "
    if isinstance(value, dict):
        text, parts = "{", [(f"{json.dumps(name)}: ", one) for name, one in value.items()]
    else:
        text, parts = "[", [("", one) for one in value]
    used = len(indent) + 1
    for number, (name, one) in enumerate(parts):
        part = name + json_lines(one, deeper, room) + ("," if number + 1 < len(parts) else "")
        if number and ("\n" in part or used + 1 + len(part) > room):
            text, used = f"{text}\n{deeper}{part}", len(deeper) + len(part)
        else:
            text, used = f"{text}{' ' * bool(number)}{part}", used + len(part) + bool(number)
        used = room if "\n" in part else used
    return text + ("}" if isinstance(value, dict) else "]")
