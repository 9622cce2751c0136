"""`orch` and `python -m discover_orch`: where the process begins.

A worker is a new interpreter and takes a while to get up. For `orch run` it is started here, before the
command line is even read, so that it is ready when the plan is; it knows nothing yet and runs nothing.
"""

from __future__ import annotations

import gc
import sys


def main() -> None:
    # Short-lived and without cycles to speak of: collecting costs a tenth of a warm `orch list`.
    gc.disable()
    from discover_orch.cli.app import run_command_line

    sys.exit(run_command_line(sys.argv[1:]))


if __name__ == "__main__":
    main()
