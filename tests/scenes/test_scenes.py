"""Each scene shows today what is recorded in it. `runner.py` says how to write and record one."""

from __future__ import annotations

import pytest

from tests.scenes.runner import FOLDER, Mismatch, Scene, check, read_scenes
from tests.support.fork_server import ForkServer

SCENES = [scene for path in sorted(FOLDER.glob("*.scene")) for scene in read_scenes(path)]


@pytest.mark.parametrize(
    "scene",
    [pytest.param(one, marks=[pytest.mark.slow] * one.is_slow, id=str(one)) for one in SCENES],
)
def test_scene(scene: Scene, fork_server: ForkServer) -> None:
    shown = ""
    try:
        check(scene, fork_server)
    except Mismatch as mismatch:
        shown = str(mismatch)
    if shown:
        pytest.fail(shown, pytrace=False)


def test_no_two_scenes_of_a_file_have_one_name() -> None:
    names = [str(scene) for scene in SCENES]
    assert sorted({*names}) == sorted(names)
