"""Completion in bash of words that click's own script breaks: with spaces, which must be escaped, and with colons or
equals signs.

bash splits the line at these and replaces only what is behind the last one. So this script gives the line as it is,
and the answer is what stands in place of that part. zsh and fish need no help.
"""

from __future__ import annotations

import os
import re
import shlex
from typing import Any

from click.shell_completion import BashComplete, CompletionItem, add_completion_class

SCRIPT = """\
%(complete_func)s() {
    local completion
    COMPREPLY=()
    while IFS= read -r completion; do
        case ${completion%%%%,*} in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                COMPREPLY+=("${completion#*,}")
                [[ $completion == *= ]] && compopt -o nospace ;;
        esac
    done < <(env ORCH_COMPLETE_LINE="${COMP_LINE:0:$COMP_POINT}" \\
        ORCH_COMPLETE_BREAKS="$COMP_WORDBREAKS" %(complete_var)s=bash_complete "$1")
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""
#: Stands behind the line, so that the last word is known to be one.
_END = "\1"


class OrchBash(BashComplete):
    """`bash_source` and `bash_complete` of the variable `_ORCH_COMPLETE`."""

    source_template = SCRIPT
    _kept = _quote = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        if "ORCH_COMPLETE_LINE" not in os.environ:  # click's own script
            return super().get_completion_args()
        words, quote = split_line(os.environ["ORCH_COMPLETE_LINE"])
        self._quote = quote
        breaks = "" if quote else os.environ.get("ORCH_COMPLETE_BREAKS", ":=")
        value = words[-1].partition("=")[2] if words[-1].startswith("-") else words[-1]
        ends = [value.rfind(one) + 1 for one in ":=" if one in breaks]
        self._kept = value[: max(ends, default=0)]
        return words[1:-1], words[-1]

    def format_completion(self, item: CompletionItem[Any]) -> str:
        value = str(item.value).removeprefix(self._kept)
        return f"{item.type},{escaped(value, self._quote) if item.type == 'plain' else value}"


def split_line(line: str) -> tuple[list[str], str]:
    """The words of a command line up to the cursor, the last one perhaps empty, and the quote that is open in it. Of a
    line with several commands these are the words of the last one."""
    lexer = shlex.shlex(line + _END, posix=True, punctuation_chars="|&;()")
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    quote = ""
    try:
        for word in lexer:
            words = [] if set(word) <= set("|&;()") else [*words, word]
    except ValueError:  # a quote is open
        state = str(getattr(lexer, "state", ""))
        quote = state if state in ("'", '"') else ""
        words.append(lexer.token)
    while len(words) > 1 and re.match(r"\w+=", words[0]):  # variables before the command
        del words[0]
    return [word.removesuffix(_END) for word in words], quote


def escaped(value: str, quote: str) -> str:
    """The value as it is typed, inside of `quote` where one is open."""
    if quote == "'":
        return value.replace("'", "'\\''")
    return re.sub(r'([$`"\\])' if quote else r"([^\w@%+=:,./-])", r"\\\1", value)


def register() -> None:
    add_completion_class(OrchBash)
