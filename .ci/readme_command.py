"""Prints one of the README's two commands: the line of the code block behind `<!-- command: NAME -->`."""

import re
import sys
from pathlib import Path

name = sys.argv[1]
text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
found = re.findall(rf"<!-- command: {re.escape(name)} -->\s*```\w*\n(.+)\n```", text)
if len(found) != 1:
    sys.exit(f"README.md has {len(found)} commands named {name!r}, not one")
print(found[0])
