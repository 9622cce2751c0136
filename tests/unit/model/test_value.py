"""Values behave as frozen dataclasses do."""

from __future__ import annotations

import copy
import pickle

import pytest

from discover_orch.model.value import field, replace, value


@value
class Point:
    """A value with a docstring, a default, and one made anew."""

    x: int
    y: int = 0
    seen: dict[str, int] = field(default_factory=dict)

    @property
    def sum(self) -> int:
        return self.x + self.y


@value
class Other:
    x: int
    y: int = 0
    seen: dict[str, int] = field(default_factory=dict)


@value
class Hashed:
    x: int
    words: tuple[str, ...] = ()


def test_defaults_fill_in_and_factories_are_not_shared() -> None:
    one, other = Point(x=1), Point(x=1)
    assert (one.x, one.y, one.seen, one.sum) == (1, 0, {}, 1)
    assert one.seen is not other.seen


def test_a_wrong_or_missing_field_is_refused() -> None:
    with pytest.raises(TypeError, match="Point needs x="):
        Point(y=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="Point has no z"):
        Point(x=1, z=2)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Point(1)  # type: ignore[call-arg]


def test_it_is_compared_by_class_and_fields() -> None:
    assert Point(x=1) == Point(x=1, y=0)
    assert Point(x=1) != Point(x=2)
    other: object = Other(x=1)
    assert Point(x=1) != other
    assert len({Hashed(x=1), Hashed(x=1), Hashed(x=2)}) == 2


def test_it_is_frozen_and_slotted() -> None:
    one = Point(x=1)
    for name in ("x", "new"):
        with pytest.raises(AttributeError, match="frozen"):
            setattr(one, name, 2)
    with pytest.raises(AttributeError, match="frozen"):
        del one.x
    assert not hasattr(one, "__dict__")


def test_it_prints_as_it_is_made() -> None:
    assert repr(Point(x=1)) == "Point(x=1, y=0, seen={})"
    assert Point.__doc__ == "A value with a docstring, a default, and one made anew."


def test_replace_copy_and_pickle() -> None:
    one = Point(x=1, y=2)
    assert replace(one, y=3) == Point(x=1, y=3)
    assert one == copy.copy(one) == copy.deepcopy(one) == pickle.loads(pickle.dumps(one))


def test_it_is_matched_by_its_fields() -> None:
    match Point(x=1, y=2):
        case Point(x=1, y=found):
            assert found == 2
        case _:
            pytest.fail("no match")
