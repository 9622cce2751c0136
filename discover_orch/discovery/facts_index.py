"""The facts of the last scan, as the index keeps them: JSON that msgspec writes and reads with its types.

A text that is damaged counts as none, and every file is read again. Facts that hold a secret are not kept, so that
no secret is written to the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct, field

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
    """A scanned file; the facts hold as long as the file has this signature."""

    path: str
    signature: str
    facts: FileFacts


class ReferenceRecord(Struct, frozen=True, kw_only=True, array_like=True):
    """A file that facts refer to; `key` is its path, or `resources` for what `orchconf.py` offers."""

    key: str
    signature: str
    facts: ReferencedFacts


class KnownFacts(Struct, frozen=True, kw_only=True):
    """`stages`: of each file, those of the last scan in which it could be read."""

    files: Mapping[str, FileRecord] = field(default_factory=dict)
    references: Mapping[str, ReferenceRecord] = field(default_factory=dict)
    stages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class _Part(Struct, frozen=True, kw_only=True):
    """The part `facts` of the index."""

    files: tuple[FileRecord, ...]
    references: tuple[ReferenceRecord, ...]
    stages: Mapping[str, tuple[str, ...]]


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
        part = msgspec.json.decode(text, type=_Part)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return KnownFacts()
    return KnownFacts(
        files={record.path: record for record in part.files},
        references={record.key: record for record in part.references},
        stages=part.stages,
    )


def encode_facts(
    files: Iterable[FileRecord],
    references: Iterable[ReferenceRecord],
    stages: Mapping[str, tuple[str, ...]],
) -> str:
    """The text for the index; a file whose name or facts are no UTF-8 is left out and read again next time."""
    kept = {
        "files": _encode_each(files),
        "references": _encode_each(references),
        "stages": {path: names for path, names in stages.items() if _encode(path)},
    }
    return msgspec.json.encode(kept).decode()


def _encode_each(records: Iterable[FileRecord | ReferenceRecord]) -> list[msgspec.Raw]:
    return [
        msgspec.Raw(text)
        for record in records
        if not has_secret(record.facts) and (text := _encode(record))
    ]


def _encode(value: FileRecord | ReferenceRecord | str) -> bytes | None:
    try:
        return _encoder.encode(value)
    except (UnicodeEncodeError, RecursionError):
        return None


_encoder = msgspec.json.Encoder()
