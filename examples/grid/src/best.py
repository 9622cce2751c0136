"""Choose the setting with the smallest error."""

import json
from pathlib import Path

STAGE = "choose"


def run():
    errors = {path.stem: json.loads(path.read_text())["rmse"] for path in Path("models").iterdir()}
    best = min(errors, key=errors.get)
    Path("best.txt").write_text(f"{best} {errors[best]}\n")
    return {"best": best, "rmse": errors[best]}
