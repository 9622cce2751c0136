"""Random projects with real workers: from the times that the tools themselves note, no order, token or conflict is broken."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.conftest import Orch, Project

TOOL = """
    import os, time
    STAGE = "{stage}"
    {after}
    ORCH = {{"inputs": {inputs}, "outputs": {outputs}, "tokens": {tokens}, "retries": {retries}, "retry_delay": 0.01}}
    def run():
        log = os.open({log!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(log, b"begin {name} %d\\n" % time.monotonic_ns())
        time.sleep({seconds})
        for path in {outputs}:
            open(path, "w").close()
        tries = os.path.join({tries!r}, "{name}")
        with open(tries, "a") as file:
            file.write("x")
        os.write(log, b"end {name} %d\\n" % time.monotonic_ns())
        assert os.path.getsize(tries) > {failures}, "not this time"
"""
GPUS = 2


class World:
    """A random project of `count` tools."""

    def __init__(self, seed: int, log: Path, count: int) -> None:
        self.log = log
        (log.parent / "tries").mkdir()
        luck = random.Random(seed)
        self.stages = {f"t{n:02}": luck.choice(["s1", "s2", "s3"]) for n in range(count)}
        self.after: dict[str, list[str] | None] = {}
        self.files: dict[str, tuple[list[str], list[str]]] = {}
        self.tokens = {name: luck.choice([0, 0, 1, GPUS]) for name in self.stages}
        self.texts = {}
        for name, stage in self.stages.items():
            peers = [one for one in self.after if self.stages[one] == stage]
            after = (
                None
                if luck.random() < 0.1
                else luck.sample(peers, min(len(peers), luck.randint(0, 2)))
            )
            files = [f"f{n}" for n in range(8)]
            self.after[name] = after
            self.files[name] = (
                luck.sample(files, luck.randint(0, 1)),
                luck.sample(files, luck.randint(0, 1)),
            )
            retries = luck.randint(0, 2)
            self.texts[f"src/{name}.py"] = TOOL.format(
                stage=stage,
                name=name,
                after="" if after is None else f"AFTER = {tuple(after)!r}",
                inputs=self.files[name][0],
                outputs=self.files[name][1],
                tokens={"gpu": self.tokens[name]} if self.tokens[name] else {},
                retries=retries,
                log=str(log),
                tries=str(log.parent / "tries"),
                seconds=luck.choice([0.0, 0.01, 0.03]),
                failures=luck.choice([0, 0, 0, retries, retries + 1]),
            )

    def check_trace(self) -> set[str]:
        """Checks each beginning of a tool against what runs then; the tools that began."""
        running: list[str] = []
        begun: set[str] = set()
        lines = [line.split() for line in self.log.read_text().splitlines()]
        for kind, name, _ in sorted(lines, key=lambda line: int(line[2])):
            if kind == "end":
                running.remove(name)
                continue
            begun.add(name)
            reads, writes = map(set, self.files[name])
            for other in running:
                assert self.stages[other] == self.stages[name]
                other_reads, other_writes = map(set, self.files[other])
                assert not writes & (other_reads | other_writes)
                assert not reads & other_writes
                assert other not in (self.after[name] or ())
                assert name not in (self.after[other] or ())
            running.append(name)
            assert sum(self.tokens[one] for one in running) <= GPUS
        return begun


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_no_trace_of_real_workers_breaks_a_rule(
    project: Project, orch: Orch, tmp_path: Path, seed: int
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    world = World(seed, outside / "log", count=20)
    config = 'stages = ["s1", "s2", "s3"]\n[tokens]\ngpu = 2\n'
    inputs = {f"f{number}": "" for number in range(8)}
    project({"orch.toml": config, **inputs, **world.texts})
    answer = orch("run", "--jobs", "4", "--json")
    events = [json.loads(line) for line in answer.out.splitlines()]
    ends = {one["name"]: one["status"] for one in events if one["event"] == "tool_finished"}
    assert ends.keys() == world.stages.keys(), answer.text
    assert {*ends.values()} <= {"passed", "failed", "blocked"}
    assert world.check_trace() == {one for one, status in ends.items() if status != "blocked"}
    for name, status in ends.items():
        if status == "passed":
            assert all(ends[other] == "passed" for other in world.after[name] or ())
