"""The rules that worker and parent share: noise, and how folders are compared."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from discover_orch.model.observation import is_noise, is_of_editor, list_paths

names = st.lists(
    st.text(st.characters(exclude_categories=(), exclude_characters="/\0"), min_size=1)
    .filter(lambda name: not is_noise(name) and not is_of_editor(name))
    .filter(lambda name: not name.endswith(("-journal", "-wal", "-shm", ".wal"))),
    max_size=8,
)


@given(names, st.randoms(use_true_random=False))
def test_the_order_of_names_does_not_count(given_names: list[str], order: random.Random) -> None:
    shuffled = given_names.copy()
    order.shuffle(shuffled)
    assert list_paths("in", shuffled, ()) == list_paths("in", given_names, ())


@given(names, names)
def test_different_names_are_different_lists(one: list[str], other: list[str]) -> None:
    assert (list_paths("in", one, ()) == list_paths("in", other, ())) == ({*one} == {*other})


def test_noise_is_left_out_of_a_folder() -> None:
    names = ["b", "__pycache__", "a", ".git", ".orch", "x.egg-info"]
    assert list_paths("in", names, ()) == "in/a\0in/b"
    assert list_paths(".", names, ()) == "a\0b"


def test_the_database_is_left_out_by_its_path() -> None:
    assert list_paths("in", ["a", "b"], {"in/b"}) == "in/a"
    assert list_paths("in", ["a", "b"], {"b", "out/b"}) == "in/a\0in/b"
    assert list_paths(".", ["a", "b"], {"b"}) == "a"


def test_what_sqlite_puts_beside_a_database_is_left_out_and_nothing_of_a_like_name() -> None:
    side_files = ["a.db", "a.db-wal", "a.db-shm", "a.db-journal"]
    assert list_paths("in", side_files, ()) == "in/a.db"
    assert list_paths("in", ["a.db", "trade-journal"], ()) == "in/a.db\0in/trade-journal"
    assert list_paths("in", ["a.db", "b.db", "b.db-wal"], {"in/b.db"}) == "in/a.db"


def test_names_of_caches_and_repositories_are_noise_and_others_are_not() -> None:
    noise = ("__pycache__", ".orch", ".git", "site-packages", "x.dist-info")
    assert all(map(is_noise, noise))
    assert not any(map(is_noise, ("data", ".env", "orch", "git", "x.db-wal")))
