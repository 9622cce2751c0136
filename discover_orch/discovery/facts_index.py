"""The facts of the last scan, as the index keeps them: JSON that msgspec writes and reads with its types.

A text that is damaged counts as none, and every file is read again. Facts that hold a secret are not kept, so that
no secret is written to the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import Struct

from discover_orch.source.facts import (
    BrokenModule,
    ConfFacts,
    Exports,
    ModuleFacts,
    has_secret,
)
from discover_orch.state.store import Index

#: The facts of a file with the word STAGE; None for a file without it.
FileFacts = ModuleFacts | BrokenModule | None
#: What other modules can refer to in a file, or what `orchconf.py` offers; None where there is no such file.
ReferencedFacts = Exports | ConfFacts | BrokenModule | None


class FileRecord(Struct, frozen=True, kw_only=True, array_like=True):
    """What a scanned file says, as long as it has this signature."""

    signature: str
    facts: FileFacts


class ReferenceRecord(Struct, frozen=True, kw_only=True, array_like=True):
    """The same for a file that facts refer to."""

    signature: str
    facts: ReferencedFacts


class KnownFacts(Struct, frozen=True, kw_only=True):
    """The part `facts` of the index. `files` by path; `references` by path too, or `resources` for what `orchconf.py`
    offers. `stages`: of each file, those of the last scan in which it could be read."""

    files: Mapping[str, FileRecord] = {}
    references: Mapping[str, ReferenceRecord] = {}
    stages: Mapping[str, tuple[str, ...]] = {}


class ScanIndex(Struct, frozen=True, kw_only=True):
    """What the next scan starts from: the index, less the listing. `facts` encodes them: a scan that found nothing
    changed does not need that."""

    header: Mapping[str, object]
    tree: str
    facts: Callable[[], str]


def read_known_facts(index: Index | None, pythonpath: Sequence[str]) -> KnownFacts:
    """Empty where there is no index, or where another `pythonpath` gives modules other names."""
    text = index.part("facts") if index else None
    if index is None or text is None or index.header.get("pythonpath") != [*pythonpath]:
        return KnownFacts()
    try:
        return msgspec.json.decode(text, type=KnownFacts)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return KnownFacts()


def encode_facts(known: KnownFacts) -> str:
    """The text for the index; a file whose name or facts are no UTF-8 is left out and read again next time."""
    kept = {
        "files": _encode_each(known.files),
        "references": _encode_each(known.references),
        "stages": {path: names for path, names in known.stages.items() if _encode(path)},
    }
    return msgspec.json.encode(kept).decode()


def _encode_each(
    records: Mapping[str, FileRecord] | Mapping[str, ReferenceRecord],
) -> dict[str, msgspec.Raw]:
    return {
        key: msgspec.Raw(text)
        for key, record in records.items()
        if not has_secret(record.facts) and _encode(key) and (text := _encode(record))
    }


def _encode(value: FileRecord | ReferenceRecord | str) -> bytes | None:
    try:
        return _encoder.encode(value)
    except (UnicodeEncodeError, RecursionError):
        return None


_encoder = msgspec.json.Encoder()
