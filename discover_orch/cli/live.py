"""What a terminal shows beyond lines: which tool is running, and for how long.

Drawn with rich, which is imported when a tool has been silent for a moment: a short run never pays for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from discover_orch.render.style import duration

if TYPE_CHECKING:
    from rich.live import Live


class StatusLine:
    """One line at the bottom, gone as soon as there is something to print."""

    def __init__(self, *, is_on: bool, colour: bool) -> None:
        self._is_on, self._colour = is_on, colour
        self._live: Live | None = None

    def show(self, name: str, seconds: float, left: int) -> None:
        if not self._is_on:
            return
        from rich.text import Text

        if self._live is None:
            from rich.console import Console
            from rich.live import Live

            console = Console(no_color=not self._colour, highlight=False)
            self._live = Live(console=console, transient=True, auto_refresh=False)
            self._live.start()
        more = f", {left} to go" if left else ""
        line = Text(f"    {name} {duration(seconds)}{more}", style="dim", no_wrap=True)
        self._live.update(line, refresh=True)

    def hide(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
