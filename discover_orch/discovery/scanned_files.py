"""What a scan leaves to those who read the code of the tools next."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from discover_orch.source.source_file import KeepCode, SourceFile


class ScannedFiles(Struct, frozen=True, kw_only=True):
    """The files that a scan met. `signatures` are those of all of them; a `?` stands before those that are to match
    none.

    `sources` are those whose code was read besides, and `keep_code` is what they were read with.
    """

    signatures: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, SourceFile] = field(default_factory=dict)
    keep_code: KeepCode | None = None


NOT_SCANNED = ScannedFiles()
