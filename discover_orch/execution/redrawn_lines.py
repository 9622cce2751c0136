"""Lines that a tool redraws, such as progress bars: their state now, and the last state of each as text.

A carriage return starts the line again, and a cursor that moves up goes back to a line that has ended. Such lines are
held back until the tool has left them; ordinary text passes at once. No terminal is emulated column by column: what
comes after a carriage return replaces the line. Pure.
"""

from __future__ import annotations

import functools
import re

#: Lines that are held back; a cursor cannot move up further than its screen.
MOST_LINES = 50
#: Characters of a line; a longer one is passed on in pieces.
LONGEST_LINE = 1 << 20
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_CONTROL = r"\r|\n|\x1b\[(?:\?25[hl]|(\d{0,4})([ABEFGJK]))"
_TORN_CONTROL = r"\x1b(?:\[(?:\?2?5?|\d{0,4}))?$"
_REDRAWING = r"\r(?!\n)|\x1b\[\?25l"


class _Line:
    """`is_drawn`: it was written after a carriage return. `is_erased`: it was cleared after that. `draws` is how often
    lines below it were drawn since the cursor was here."""

    def __init__(self) -> None:
        self.text = ""
        self.is_drawn = self.is_erased = self.has_ended = False
        self.draws = 0

    @property
    def is_blank(self) -> bool:
        return not self.text.strip()

    def final_text(self) -> str:
        if self.is_blank and (self.is_drawn or self.is_erased or not self.has_ended):
            return ""
        text = self.text.rstrip() if self.is_drawn else self.text
        return text + ("\n" if self.is_drawn or self.has_ended else "")


class RedrawnLines:
    """What one stream of a tool shows. Ordinary text costs two searches."""

    def __init__(self) -> None:
        self._lines: list[_Line] = []  # those that may still be redrawn
        self._cursor = 0
        self._is_at_start = False  # what comes next replaces the line
        self._has_returned = False  # by a carriage return, and nothing was written since
        self._has_gone_up = False
        self._is_hidden = False  # a program that hides the cursor comes back to lines it has ended
        self._unused = ""  # an ordinary line without its end, or part of a control sequence

    @property
    def is_open(self) -> bool:
        """Whether lines are held back, so that text is needed before its line has ended."""
        return bool(self._lines)

    @property
    def state(self) -> str:
        """The lines that are held back, as they are now."""
        return "\n".join(one.text.strip() for one in self._lines if not one.is_blank)

    def feed(self, text: str) -> str:
        """The text that will not be redrawn any more."""
        is_ordinary = text.endswith("\n") and "\r" not in text and "\x1b" not in text
        if is_ordinary and not (self._lines or self._unused):
            return text
        found: list[str] = []
        text, self._unused = self._unused + text, ""
        while text:
            if not self._lines:
                start = (
                    _compiled(_REDRAWING).search(text) if "\r" in text or _HIDE in text else None
                )
                at = text.rfind("\n", 0, start.start() if start else len(text)) + 1
                if start is None and len(text) - at > LONGEST_LINE:
                    at = len(text)
                found.append(text[:at].replace("\r\n", "\n"))
                text = text[at:]
                if start is None:
                    self._unused = text
                    break
                self._lines = [_Line()]
            text = self._draw(text, found)
        return "".join(found)

    def settle(self) -> str:
        """The lines above the cursor, when there is reason to believe that it does not come back."""
        is_below_all = all(one.is_blank for one in self._lines[self._cursor :])
        has_left = not self._is_hidden and (is_below_all or not self._has_gone_up)
        return self._release(self._cursor) if has_left else ""

    def flush(self) -> str:
        """All that is held back: the tool has ended."""
        unused, self._unused, self._is_hidden = self._unused, "", False
        if not self._lines:
            return unused
        self._write(unused)
        return self._release(len(self._lines))

    def _draw(self, text: str, found: list[str]) -> str:
        """Draws `text` until no line is held back any more. Returns what is left of it."""
        torn = _compiled(_TORN_CONTROL).search(text)
        if torn is not None:
            text, self._unused = text[: torn.start()], torn[0]
        at = 0
        for control in _compiled(_CONTROL).finditer(text):
            self._write(text[at : control.start()])
            at = control.end()
            found.append(self._obey(control))
            if not self._lines:
                left, self._unused = text[at:] + self._unused, ""
                return left
        self._write(text[at:])
        found.append(self._release_left())
        if len(self._lines[self._cursor].text) > LONGEST_LINE:
            found.append(self._release(len(self._lines)))
        return ""

    def _write(self, text: str) -> None:
        if not text:
            return
        line = self._lines[self._cursor]
        if self._is_at_start:
            line.text, line.is_drawn, line.has_ended = "", True, False
            self._is_at_start = False
        line.text += text
        if self._has_returned and not text.isspace():
            self._has_returned = False
            for above in self._lines[: self._cursor]:
                above.draws += 1

    def _obey(self, control: re.Match[str]) -> str:
        """Moves the cursor or clears text. Returns the text of the lines that this releases."""
        count, letter = int(control[1] or 1), control[2]
        if control[0] == "\n":
            return self._end_line()
        if control[0] == "\r":
            self._go_to_start()
        elif control[0] == _HIDE:
            self._is_hidden = True
        elif control[0] == _SHOW:
            self._is_hidden = False
            return self.settle()
        elif letter in "AF":
            self._has_gone_up = self._cursor > 0
            self._cursor = max(0, self._cursor - count)
            for line in self._lines[self._cursor :]:
                line.draws = 0
        elif letter in "BE":
            self._move_down(min(count, MOST_LINES))
        elif letter == "J" and control[1] in ("", "0"):
            del self._lines[self._cursor + 1 :]
        if letter in ("E", "F", "G"):
            self._go_to_start()
        if letter in ("J", "K") and (self._is_at_start or control[1] == "2"):
            self._lines[self._cursor].text = ""
        return self._release_left()

    def _go_to_start(self) -> None:
        line = self._lines[self._cursor]
        if line.is_drawn and line.is_blank:  # it was cleared with spaces: as good as new
            line.text, line.is_drawn, line.is_erased = "", False, True
            self._is_at_start = self._has_returned = False
        else:
            self._is_at_start = self._has_returned = True

    def _end_line(self) -> str:
        line = self._lines[self._cursor]
        line.has_ended = True
        below = self._lines[self._cursor + 1 :]
        is_ordinary = not (line.is_drawn or (line.is_blank and line.is_erased) or self._is_hidden)
        if is_ordinary and all(one.is_blank for one in below):
            return self._release(len(self._lines))
        self._move_down(1)
        self._is_at_start, self._has_returned = bool(self._lines[self._cursor].text), False
        return self._release_left()

    def _move_down(self, count: int) -> None:
        self._cursor += count
        while len(self._lines) <= self._cursor:
            self._lines.append(_Line())

    def _release_left(self) -> str:
        """The lines that the cursor did not come back to while lines below them were drawn twice, and those that are
        too far up."""
        left = 0
        if self._cursor and self._lines[0].draws > 1:
            left = sum(one.draws > 1 for one in self._lines[: self._cursor])
        return self._release(max(left, len(self._lines) - MOST_LINES))

    def _release(self, count: int) -> str:
        """The last state of the first `count` lines, which are not held back any more."""
        released = self._lines[:count]
        del self._lines[:count]
        self._cursor = max(0, self._cursor - count)
        if not self._lines:
            self._is_at_start = self._has_returned = self._has_gone_up = False
        return "".join(one.final_text() for one in released)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compiled when first needed: most runs redraw nothing."""
    return re.compile(pattern)
