"""What bash gives as the line, and what it puts in place of the last word."""

from __future__ import annotations

import pytest
from click.shell_completion import CompletionItem

from discover_orch.cli.app import app
from discover_orch.cli.bash_completion import OrchBash, escaped, split_line


@pytest.mark.parametrize(
    ("line", "words", "quote"),
    [
        ("orch run fe", ["orch", "run", "fe"], ""),
        ("orch run ", ["orch", "run", ""], ""),
        ("orch run night\\ ", ["orch", "run", "night "], ""),
        ("orch run 'night l", ["orch", "run", "night l"], "'"),
        ('orch run "a:', ["orch", "run", "a:"], '"'),
        ("orch run stage:in", ["orch", "run", "stage:in"], ""),
        ("orch run --mode=c:", ["orch", "run", "--mode=c:"], ""),
        ("cd x && A=1 B=2 orch run fe", ["orch", "run", "fe"], ""),
        ("echo $(orch run fe", ["orch", "run", "fe"], ""),
        ("a; orch run +fe", ["orch", "run", "+fe"], ""),
        ("orch run 'pipeline.*' fe", ["orch", "run", "pipeline.*", "fe"], ""),
        ("", [""], ""),
    ],
)
def test_the_words_of_the_line(line: str, words: list[str], quote: str) -> None:
    assert split_line(line) == (words, quote)


@pytest.mark.parametrize(
    ("line", "value", "inserted"),
    [
        ("orch run ni", "night ly", "night\\ ly"),
        ("orch run 'ni", "night ly", "night ly"),
        ('orch run "ni', "night $ly", "night \\$ly"),
        ("orch run stage:n", "stage:night ly", "night\\ ly"),
        ("orch run 'stage:n", "stage:night ly", "stage:night ly"),
        ("orch run a:", "a:b", "b"),
        ("orch run a:b:", "a:b:c", "c"),
        ("orch run --mode=c:", "c:d", "d"),
        ("orch run --mode c", "c:d", "c:d"),
        ("orch run -p ki", "kind=", "kind="),
        ("orch run -p kind=n", "kind=new", "new"),
        ("orch run -p 'kind=n", "kind=new", "kind=new"),
        ("orch run fe", "fetch_orders", "fetch_orders"),
    ],
)
def test_what_is_inserted_is_one_word(
    line: str, value: str, inserted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_COMPLETE_LINE", line)
    monkeypatch.setenv("ORCH_COMPLETE_BREAKS", " \t\n\"'@><=;|&(:")
    bash = OrchBash(app, {}, "orch", "_ORCH_COMPLETE")
    bash.get_completion_args()
    assert bash.format_completion(CompletionItem(value)) == f"plain,{inserted}"


def test_a_quote_in_a_value_ends_no_quote() -> None:
    assert escaped("it's", "'") == "it'\\''s"
    assert escaped("it's (x)", "") == "it\\'s\\ \\(x\\)"
