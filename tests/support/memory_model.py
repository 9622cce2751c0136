"""A small pipeline, and a model of what orch must remember of it: fresh, stale, history, resume.

The model is written from the contract alone: it knows what each tool reads and writes, keeps what each success rested
on, and asks nothing of the product.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

#: In the order of everything; stages are load (fetch, clean), work (mark, side), out (page).
TOOLS = ("fetch", "clean", "mark", "side", "page")
STAGE = {"fetch": 0, "clean": 0, "mark": 1, "side": 1, "page": 2}
STAGES = ("load", "work", "out")
AFTER = {"clean": ("fetch",)}
TAKES_SINCE = ("fetch", "page")
TAKES_CONN = ("fetch", "clean", "mark", "page")
FILES_READ = {"fetch": "input.csv", "side": "side.txt"}
FILES_WRITTEN = {"side": "side_out.txt", "page": "page.txt"}
TABLES_READ = {"clean": ("raw",), "mark": ("cleaned",), "page": ("cleaned",)}
TABLES_WRITTEN = {"fetch": ("raw",), "clean": ("cleaned",), "mark": ("cleaned",)}
HELPED = ("clean",)  # imports lib.cells, which imports lib.deep

START = """
import os, time
STAGE = "{stage}"
AFTER = {after}
def begin():
    if os.access.__wrapped__("hold/{name}", os.F_OK):
        print("holding", flush=True)
        time.sleep(60)
    if os.access.__wrapped__("fail/{name}", os.F_OK):
        raise ValueError("told to fail")
def run({takes}):
    begin()
"""
BODIES = {
    "fetch": """
    with open("input.csv") as file:
        rows = [(line.strip(),) for line in file]
    conn.execute("create table if not exists raw (x)")
    conn.execute("delete from raw")
    conn.executemany("insert into raw values (?)", rows)
""",
    "clean": """
    rows = conn.execute("select x from raw").fetchall()
    conn.execute("create table if not exists cleaned (x)")
    conn.execute("delete from cleaned")
    conn.executemany("insert into cleaned values (?)", [(DEEP + x,) for (x,) in rows])
""",
    "mark": """
    conn.execute("update cleaned set x = x || '!'")
""",
    "side": """
    with open("side.txt") as file, open("side_out.txt", "w") as out:
        out.write(file.read())
""",
    "page": """
    rows = conn.execute("select x from cleaned").fetchall()
    with open("page.txt", "w") as out:
        out.write(str(rows))
""",
}


def tool_text(name: str, version: int, comments: int) -> str:
    """Versions differ in meaning and in no length; comments make no difference."""
    takes = ["conn"] * (name in TAKES_CONN)
    if name in TAKES_SINCE:
        takes += ["*", "since=''"]
    top = "from src.lib.cells import DEEP\n" if name in HELPED else ""
    start = START.format(
        name=name, stage=STAGES[STAGE[name]], after=AFTER.get(name, ()), takes=", ".join(takes)
    )
    return f"{'# comment' * comments}\n{top}{start}{BODIES[name]}\nVERSION = {version}\n"


def deep_text(version: int) -> str:
    return f'DEEP = "{version}"\n'


@dataclass(frozen=True)
class Success:
    """What the last success of a tool rested on: `run` is when it ran, `taken` when it ran or was accepted.
    `knows_flow`: it ran, and so was seen to read and write. `is_second_update`: it updated in place what it had already
    updated."""

    run: int
    taken: int
    code: tuple[int, ...]
    since: str | None
    read: int | None  # the version of the file that it reads
    wrote: bool  # whether a file of its own has to be there
    database: int | None
    knows_flow: bool
    is_second_update: bool = False


@dataclass
class Run:
    number: int
    since: str | None
    plan: tuple[str, ...]
    statuses: dict[str, str]
    status: str
    resumes: int | None = None


@dataclass
class Model:
    """`ends`: how the last try of a tool ended, where it was tried; `database` is the number of the one that is
    there."""

    versions: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*TOOLS, "deep"), 0))
    files: dict[str, int] = field(default_factory=lambda: {"input.csv": 0, "side.txt": 0})
    outputs: set[str] = field(default_factory=set)
    tables: set[str] = field(default_factory=set)
    database: int | None = None
    databases: int = 0
    failing: set[str] = field(default_factory=set)
    ends: dict[str, str] = field(default_factory=dict)
    successes: dict[str, Success] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    #: The database of the last run of `clean` that passed, and those whose table `cleaned` `mark` wrote last.
    cleaned_in: int | None = None
    marked: set[int | None] = field(default_factory=set)
    #: Tools of which it is known what they read and write: at the end of a run, or, where it was killed, from the
    #: beginning of the next one on.
    flows: set[str] = field(default_factory=set)

    # What is there now.

    def code(self, tool: str) -> tuple[int, ...]:
        return (self.versions[tool], *([self.versions["deep"]] if tool in HELPED else []))

    def now(self, tool: str, since: str | None) -> Success:
        """What a success would rest on."""
        read = FILES_READ.get(tool)
        return Success(
            run=0,
            taken=self.latest,
            code=self.code(tool),
            since=since if tool in TAKES_SINCE else None,
            read=self.files[read] if read else None,
            wrote=tool in FILES_WRITTEN,
            database=self.database if tool in TAKES_CONN else None,
            knows_flow=True,
        )

    @property
    def latest(self) -> int:
        return self.runs[-1].number if self.runs else 0

    # Fresh or stale.

    def _is_stale(self, tool: str, since: str | None) -> bool:
        """Whether it is stale for a reason of its own."""
        return self.ends.get(tool) not in ("passed", "accepted") or self._has_changed(tool, since)

    def _has_changed(self, tool: str, since: str | None) -> bool:
        """Whether its last success, if there is one, rests on something else than what is there now."""
        then = self.successes.get(tool)
        if then is None:
            return True
        now = self.now(tool, since)
        if (then.code, then.since, then.database) != (now.code, now.since, now.database):
            return True
        if then.knows_flow and then.read != now.read:
            return True
        if then.wrote and FILES_WRITTEN[tool] not in self.outputs:
            return True
        return then.is_second_update or self._ran_since(tool, then)

    def _ran_since(self, tool: str, then: Success) -> bool:
        """Whether a tool before it wrote its tables since, or one that may be upstream of it ran."""
        mine = {*TABLES_READ.get(tool, ()), *TABLES_WRITTEN.get(tool, ())}
        for other in TOOLS[: TOOLS.index(tool)]:
            success = self.successes.get(other)
            if success is None or success.run <= then.taken:
                continue
            shares_table = bool(mine & {*TABLES_WRITTEN.get(other, ())})
            if then.knows_flow and shares_table and success.database == self.database:
                return True
            # A tool whose reads were all seen is judged by them alone.
            is_unseen = not then.knows_flow and STAGE[tool] > STAGE[other]
            if other in AFTER.get(tool, ()) or is_unseen:
                return True
        return False

    def stale(self, since: str | None, given: Collection[str] = TOOLS) -> set[str]:
        """With this value for the tools that are `given` it."""
        own = {tool for tool in TOOLS if self._is_stale(tool, since if tool in given else None)}
        stale = own | self.downstream(own)
        if "mark" in stale and self._must_clean_again():
            stale |= {"clean"} | self.downstream(["clean"])
        return stale

    def _must_clean_again(self) -> bool:
        """Whether `mark` would update what it has already updated."""
        mark = self.successes.get("mark")
        if mark is None or not (self.knows_flow("clean") and self.knows_flow("mark")):
            return False
        return self.cleaned_in is not None and self.cleaned_in in self.marked

    def knows_flow(self, tool: str) -> bool:
        return tool in self.flows

    def downstream(self, start: Iterable[str]) -> set[str]:
        found: set[str] = set()
        waiting = list(start)
        while waiting:
            tool = waiting.pop()
            for other in TOOLS:
                if other not in found and self._follows(other, tool):
                    found.add(other)
                    waiting.append(other)
        return found

    def _follows(self, tool: str, other: str) -> bool:
        """Whether `tool` is directly downstream of `other`."""
        if other in AFTER.get(tool, ()):
            return True
        if self._may_follow(tool, other):
            return True
        shared = {*TABLES_WRITTEN.get(other, ())} & {*TABLES_READ.get(tool, ())}
        both = self.knows_flow(tool) and self.knows_flow(other)
        return both and bool(shared) and TOOLS.index(other) < TOOLS.index(tool)

    def _may_follow(self, tool: str, other: str) -> bool:
        """Whether it comes in a later stage, and the data flow of one of them is not known."""
        return STAGE[tool] > STAGE[other] and not (self.knows_flow(tool) and self.knows_flow(other))

    def word(self, tool: str) -> str:
        end = self.ends.get(tool)
        if end in ("failed", "unknown"):
            return end
        return "" if tool in self.successes else "never"

    # Runs.

    def would_fail(self, tool: str) -> bool:
        missing = {*TABLES_READ.get(tool, ())} - self.tables
        return tool in self.failing or bool(missing)

    def run(
        self,
        steps: Iterable[str],
        since: str | None,
        *,
        whole: tuple[str, ...] = (),
        resumes: int | None = None,
        killed_at: str | None = None,
        fresh: Iterable[str] = (),
        is_changed: bool = False,
    ) -> Run:
        """A run of these steps, besides which others are `fresh`; where `killed_at` begins, the run is killed.
        `is_changed`: of what is stale, as a resume is too. Then each step is judged again when its turn comes."""
        steps = tuple(steps)
        whole = whole or steps
        number = self.latest + 1
        statuses = dict.fromkeys(steps, "not_run")
        run = Run(
            number=number,
            since=since,
            plan=whole,
            statuses=statuses,
            status="passed",
            resumes=resumes,
        )
        for tool in steps:
            if statuses[tool] == "blocked":
                continue
            if is_changed and tool not in self.stale(since, whole if resumes else TOOLS):
                statuses[tool] = "fresh"
                continue
            if tool in TAKES_CONN and self.database is None:
                self.databases += 1
                self.database = self.databases
            if tool == killed_at:
                statuses[tool] = self.ends[tool] = "unknown"
                run.status = "killed"
                break
            if self.would_fail(tool):
                below = self.downstream([tool])
                statuses[tool] = self.ends[tool] = "failed"
                statuses |= {
                    one: "blocked" for one in steps if statuses[one] == "not_run" and one in below
                }
                run.status = "failed"
                continue
            statuses[tool] = self.ends[tool] = "passed"
            self.successes[tool] = replace(
                self.now(tool, since),
                run=number,
                taken=number,
                is_second_update=tool == "mark"
                and self.cleaned_in == self.database
                and self.database in self.marked,
            )
            if tool == "clean":
                self.cleaned_in = self.database
                self.marked.discard(self.database)
            if tool == "mark":
                self.marked.add(self.database)
            self.tables |= {*TABLES_WRITTEN.get(tool, ())}
            if tool in FILES_WRITTEN:
                self.outputs.add(FILES_WRITTEN[tool])
        run.statuses = statuses | dict.fromkeys(fresh, "fresh")
        self._learn_flows()  # of the run before this one; the plan did not know
        self.runs.append(run)
        if killed_at is None:
            self._learn_flows()
        return run

    def ordered(self, tool: str) -> None:
        """In the latest run, which was killed, its order was out: it may have begun."""
        self.runs[-1].statuses[tool] = self.ends[tool] = "unknown"

    def _learn_flows(self) -> None:
        last = self.runs[-1].statuses if self.runs else {}
        self.flows |= {tool for tool, status in last.items() if status == "passed"}

    def accept(self, tools: Iterable[str], since: str | None) -> None:
        for tool in tools:
            old = self.successes.get(tool)
            now = self.now(tool, since)
            knows_flow = old is not None and old.knows_flow  # of the success, not of the graph
            is_there = FILES_WRITTEN.get(tool) in self.outputs
            self.successes[tool] = replace(
                now,
                run=old.run if old else 0,
                knows_flow=knows_flow,
                wrote=old is not None and old.wrote and is_there,
            )
            self.ends[tool] = "accepted"
            if self.database is not None:  # what it wrote counts as written into this one
                if tool == "clean" and self.cleaned_in is not None:
                    self.cleaned_in = self.database
                if tool == "mark" and self.marked:
                    self.marked = {self.database}

    # Resume.

    def resumable(self) -> Run | None:
        done: set[int] = set()
        for run in reversed(self.runs):
            if run.resumes is not None and (run.status == "passed" or run.number in done):
                done.add(run.resumes)
            is_open = run.status in ("failed", "killed") and run.number not in done
            if is_open and not self._is_overtaken(run):
                return run
        return None

    def _is_overtaken(self, run: Run) -> bool:
        """Whether all tools that it left have run or been accepted since."""
        left = [one for one, status in run.statuses.items() if status not in ("passed", "fresh")]
        return bool(left) and all(self._last(one) > run.number for one in left)

    def _last(self, tool: str) -> int:
        """The latest run of which something is remembered of the tool. That it was killed is noticed by the next."""
        numbers = [
            run.number
            for run in self.runs
            if run.statuses.get(tool) in ("passed", "failed")
            or (run.statuses.get(tool) == "unknown" and run is not self.runs[-1])
        ]
        success = self.successes.get(tool)
        return max([0, *numbers, *([success.taken] if success else [])])

    def to_resume(self, run: Run) -> tuple[str, ...]:
        stale = self.stale(run.since, run.plan)
        return tuple(one for one in run.plan if one in stale)
