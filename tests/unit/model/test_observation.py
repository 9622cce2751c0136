"""The rules that worker and parent share: noise, and how folders are compared."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from discover_orch.model.observation import Observation, is_noise, listing_hash, names_hash

names = st.lists(
    st.text(st.characters(exclude_categories=(), exclude_characters="/\0"), min_size=1), max_size=8
)


@given(names, st.randoms())
def test_the_order_of_names_does_not_count(given_names: list[str], random: object) -> None:
    import random as standard

    shuffled = given_names.copy()
    assert isinstance(random, standard.Random)
    random.shuffle(shuffled)
    assert names_hash(shuffled) == names_hash(given_names)
    assert len(names_hash(given_names)) == 16


@given(names, names)
def test_different_names_have_different_hashes(one: list[str], other: list[str]) -> None:
    assert (names_hash({*one}) == names_hash({*other})) == ({*one} == {*other})


def test_noise_is_left_out_of_a_folder() -> None:
    plain = listing_hash("in", ["a", "b"], ())
    assert listing_hash("in", ["b", "__pycache__", "a", ".git", ".orch", "x.egg-info"], ()) == plain
    assert listing_hash("in", ["a", "b", "c"], ()) != plain


def test_own_files_are_left_out_by_their_path() -> None:
    plain = listing_hash("in", ["a"], ())
    assert listing_hash("in", ["a", "b"], {"in/b"}) == plain
    assert listing_hash("in", ["a", "b"], {"b", "out/b"}) != plain
    assert listing_hash(".", ["a", "b"], {"b"}) == plain


def test_what_sqlite_puts_beside_a_database_is_left_out_and_nothing_of_a_like_name() -> None:
    plain = listing_hash("in", ["a.db"], ())
    assert listing_hash("in", ["a.db", "a.db-wal", "a.db-shm", "a.db-journal"], ()) == plain
    assert listing_hash("in", ["a.db", "trade-journal"], ()) != plain
    own = {"in/b.db"}
    assert listing_hash("in", ["a.db", "b.db", "b.db-wal"], own) == plain
    assert listing_hash("in", ["a.db", "b.db-wal"], own) == plain


def test_names_of_caches_and_repositories_are_noise_and_others_are_not() -> None:
    noise = ("__pycache__", ".orch", ".git", "site-packages", "x.dist-info")
    assert all(map(is_noise, noise))
    assert not any(map(is_noise, ("data", ".env", "orch", "git", "x.db-wal")))


def test_nothing_seen_is_nothing() -> None:
    assert Observation() == Observation(
        read=(), listed=(), is_unclear=False, database="", began=(0, 0)
    )
