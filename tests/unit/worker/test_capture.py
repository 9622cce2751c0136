"""The parent's half of capture: whatever way the bytes are cut, the same texts come out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from discover_orch.worker.capture import LONGEST_LINE, Splitter

MARK = "\0orch 0123456789abcdef\n"
Piece = str | None


def split(data: bytes, sizes: list[int]) -> list[Piece]:
    """Feed in chunks of these sizes; neighbouring texts are joined."""
    splitter = Splitter(MARK)
    found: list[Piece] = []
    while data:
        size = sizes.pop(0) if sizes else len(data)
        found += splitter.feed(data[:size])
        data = data[size:]
    found.append(splitter.flush())
    return join(found)


def join(pieces: list[Piece]) -> list[Piece]:
    joined: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        elif piece != "":
            joined.append(piece)
    return joined


@given(
    st.lists(st.text(st.sampled_from("aé€😀\n\r\0 orch"), max_size=20) | st.none()),
    st.lists(st.integers(1, 12)),
)
def test_texts_and_marks_survive_any_cut(pieces: list[Piece], sizes: list[int]) -> None:
    data = b"".join(one.encode() if isinstance(one, str) else MARK.encode() for one in pieces)
    assert split(data, sizes) == join(pieces)


def test_an_endless_line_is_handed_on_in_pieces() -> None:
    splitter = Splitter(MARK)
    whole = "é" * (3 * LONGEST_LINE)
    data = whole.encode() + MARK.encode()
    found: list[Piece] = []
    for at in range(0, len(data), 65_535):
        found += splitter.feed(data[at : at + 65_535])
    assert join(found) == [whole, None]
    assert len(found) > 3


def test_a_mark_at_the_end_of_an_endless_line_is_found() -> None:
    for length in range(LONGEST_LINE - 40, LONGEST_LINE + 40):
        splitter = Splitter(MARK)
        data = b"x" * length + MARK[:-1].encode()
        assert join([*splitter.feed(data), *splitter.feed(b"\n")]) == ["x" * length, None]
