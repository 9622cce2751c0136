"""Every reason is a sentence."""

from __future__ import annotations

import pytest

from discover_orch.staleness.reason_sentences import reason_sentence
from discover_orch.staleness.rule import Reason
from discover_orch.staleness.tool_result import (
    ABSENT,
    EXISTS,
    UNSURE,
    Success,
    ToolResult,
    sequence,
)

#: The tool itself succeeded in run 3.
ME = ToolResult(module="src.me", success=Success(asof=sequence(3, 1), ended=sequence(3, 2)))
SAME_RUN, LATER = sequence(3, 4), sequence(5, 2)


def difference(key: str, then: str | None, now: str | None, by: str = "", seq: int = 0) -> Reason:
    return Reason(key, by=by, seq=seq, then=then, now=now)


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        (difference("code:src/a.py", "1", "2"), "src/a.py changed"),
        (difference("code:src/a.py", UNSURE, "2"), "src/a.py changed while the tool ran"),
        (difference("code:src/a.py", "1", None), "src/a.py is no longer imported"),
        (difference("code:src/a.py", None, "1"), "src/a.py is now imported"),
        (difference("python", "3.11", "3.12"), "Python: 3.11 → 3.12"),
        (difference("package:numpy", "1.26", "2.0"), "numpy: 1.26 → 2.0"),
        (difference("package:numpy", "1.26", ABSENT), "numpy 1.26 is no longer installed"),
        (difference("param:since", "2024-01-01", "2020-01-01"), "--since: 2024-01-01 → default"),
        (difference("param:max_size", None, "3"), "--max-size: not given → 3"),
        (difference("env:REGION", "1", "2"), "the environment variable REGION changed"),
        (difference("file:in.csv", "1", "2"), "in.csv changed"),
        (difference("file:in.csv", "1", ABSENT), "in.csv is missing"),
        (difference("file:in.csv", ABSENT, "1"), "in.csv now exists"),
        (difference("file:in.csv", UNSURE, "1"), "in.csv changed while the tool ran"),
        (
            Reason("file:in.csv", "src.first", LATER, how="out of order"),
            "ran on in.csv as a later tool had left it, not as first leaves it",
        ),
        (Reason("file:out.csv", how="edited"), "out.csv was edited after me made it"),
        (
            Reason("table:3:raw", "src.first", LATER, how="overwritten"),
            "table raw was overwritten by first (run 5)",
        ),
        (
            difference("file:in.csv", "1", "2", "src.first", LATER),
            "in.csv was rewritten by first (run 5)",
        ),
        (
            difference("file:in.csv", EXISTS, ABSENT, "src.first", LATER),
            "in.csv is missing: first removed it",
        ),
        (difference("folder:.", UNSURE, ""), "the list of files in the project folder changed"),
        (difference("folder:in", UNSURE, ""), "the list of files in in/ changed"),
        (difference("glob:in/*", "in/a", None), "in/* now matches other files"),
        (difference("table:1:raw", EXISTS, ABSENT), "table raw is missing"),
        (
            Reason("table:1:raw", by="src.first", seq=LATER),
            "table raw was rewritten by first (run 5)",
        ),
        (
            Reason("table:1:raw", by="src.first", seq=SAME_RUN),
            "table raw was rewritten by first (run 3, after this tool)",
        ),
        (
            Reason("table:1:raw", "src.first", how="out of order"),
            "ran on table raw as a later tool had left it, not as first leaves it",
        ),
        (
            Reason("table:1:*", by="src.first", seq=LATER),
            "first used the database in a way that cannot be observed (run 5)",
        ),
        (
            Reason("table:1:", by="src.first", seq=LATER),
            "first changed which tables exist (run 5)",
        ),
        (
            Reason("tool:src.first", by="src.first", seq=LATER),
            "it depends on first, which ran later (run 5)",
        ),
        (difference("database", "1 x.db", "0 x.db"), "the database x.db is missing"),
        (difference("database", "1 x.db", "2 x.db"), "the database x.db was replaced"),
        (difference("database", "0 x.db", "2 x.db"), "the database x.db now exists"),
        (difference("database", "1 x.db", "1 y.db"), "database: x.db → y.db"),
        (
            difference("database", "1 get_connection()", "2 get_connection()"),
            "the database of get_connection() was replaced",
        ),
        (difference("database", None, "1 x.db"), "the tool now uses the database"),
        (difference("database", "1 x.db", None), "the tool no longer uses the database"),
    ],
)
def test_every_reason_has_its_own_sentence(reason: Reason, sentence: str) -> None:
    defaults = {"since": "2020-01-01"}
    found = reason_sentence(reason, ME, lambda module: module.removeprefix("src."), defaults)
    assert found == sentence
