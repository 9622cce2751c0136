"""What the system offers for watching: file systems, limits, folders, watches."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from discover_orch.watch.files import filesystems
from discover_orch.watch.files.filesystems import (
    Limits,
    count_folders,
    count_watches,
    filesystem_of,
    folders_below,
    inotify_descriptors,
    read_limits,
    sends_events,
    watched_inodes,
)

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

MOUNTS = r"""
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:21 / /home rw,relatime shared:7 - btrfs /dev/vdb rw
24 22 0:22 / /home/me/with\040blank rw,relatime shared:8 master:1 - fuse.sshfs me@there: rw
25 22 0:23 / /mnt/c rw,noatime - 9p drvfs rw
26 22 0:24 / /mnt/c rw,noatime - nfs4 there:/ rw
damaged
"""


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    monkeypatch.setattr(filesystems, "_MOUNTS", str(tmp_path / "mountinfo"))


@pytest.mark.usefixtures("mounts")
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "ext4"),
        ("/homeless", "ext4"),
        ("/home", "btrfs"),
        ("/home/you/project", "btrfs"),
        ("/home/me/with blank/project", "fuse.sshfs"),
        ("/mnt/c/x", "nfs4"),
    ],
)
def test_the_longest_and_topmost_mount_names_the_file_system(path: str, expected: str) -> None:
    assert filesystem_of(path) == expected


def test_an_unreadable_list_of_mounts_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystems, "_MOUNTS", "/nonexistent")
    assert filesystem_of("/") == ""


@on_linux
def test_this_file_stands_on_some_file_system() -> None:
    assert filesystem_of(__file__) != ""
    assert filesystem_of("/proc/self") == "proc"


@pytest.mark.parametrize(
    "name",
    ["9p", "drvfs", "nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse", "fuse.sshfs", "vboxsf", "osxfs",
     "virtiofs", "prl_fs", "vmhgfs", "afs"],
)  # fmt: skip
def test_shares_send_no_events(name: str) -> None:
    assert not sends_events(name)


@pytest.mark.parametrize("name", ["ext4", "btrfs", "xfs", "tmpfs", "overlay", "zfs", "fuseblk", ""])
def test_local_disks_and_unknown_ones_count_as_sending_events(name: str) -> None:
    assert sends_events(name)


@on_linux
def test_limits_are_read() -> None:
    limits = read_limits()
    assert limits.watches is not None
    assert limits.instances is not None
    assert limits.queue is not None


def test_the_lower_limit_counts_where_there_are_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, names in (
        ("fs", ("max_user_watches", "max_user_instances", "max_queued_events")),
        ("user", ("max_inotify_watches", "max_inotify_instances")),
    ):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_text("7\n" if folder == "user" else "9\n")
    monkeypatch.setattr(filesystems, "_LIMITS", str(tmp_path / "fs"))
    monkeypatch.setattr(filesystems, "_NAMESPACE_LIMITS", str(tmp_path / "user"))
    assert read_limits() == Limits(watches=7, instances=7, queue=9)


def test_unknown_limits_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystems, "_LIMITS", "/nonexistent")
    monkeypatch.setattr(filesystems, "_NAMESPACE_LIMITS", "/nonexistent")
    assert read_limits() == Limits()


def test_folders_are_counted_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "up").symlink_to(tmp_path)
    (tmp_path / "file").write_text("")
    assert sorted(folders_below(str(tmp_path)).values()) == sorted(
        str(tmp_path / name) for name in ("", "a", "a/b", "c")
    )
    assert count_folders(str(tmp_path)) == 4
    assert count_folders(str(tmp_path / "missing")) == 0
    assert count_folders(str(tmp_path / "file")) == 0


@on_linux
def test_watches_of_this_process_are_listed_by_inode(tmp_path: Path) -> None:
    import ctypes

    before = set(inotify_descriptors())
    libc = ctypes.CDLL(None)
    number = libc.inotify_init1(os.O_CLOEXEC)
    try:
        assert set(inotify_descriptors()) - before == {number}
        assert watched_inodes([number]) == []
        held = count_watches()
        assert libc.inotify_add_watch(number, os.fsencode(tmp_path), 0x100) > 0
        assert watched_inodes([number]) == [tmp_path.stat().st_ino]
        assert count_watches() == held + 1
    finally:
        os.close(number)


def test_elsewhere_than_on_linux_nothing_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystems, "_DESCRIPTORS", "/nonexistent")
    assert inotify_descriptors() == []
    assert count_watches() == 0
