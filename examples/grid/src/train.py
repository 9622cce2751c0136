"""Fit a polynomial for each setting."""

import json
import math
from pathlib import Path

STAGE = "train"
ORCH = {"each": {"degree": [1, 3, 5], "rate": [0.1, 0.5]}}  # all combinations


def run(conn, *, degree: int, rate: float):
    data = conn.execute("SELECT x, y, is_test FROM rows").fetchall()
    weights = [0.0] * (degree + 1)
    learn = [(powers(x, degree), y) for x, y, is_test in data if not is_test]
    for _ in range(300):
        steps = [0.0] * len(weights)
        for xs, y in learn:
            error = dot(weights, xs) - y
            steps = [step + error * x for step, x in zip(steps, xs, strict=True)]
        weights = [one - rate * step / len(learn) for one, step in zip(weights, steps, strict=True)]
    errors = [dot(weights, powers(x, degree)) - y for x, y, is_test in data if is_test]
    rmse = round(math.sqrt(sum(one * one for one in errors) / len(errors)), 4)
    Path("models").mkdir(exist_ok=True)
    Path(f"models/{degree}-{rate}.json").write_text(json.dumps({"rmse": rmse, "weights": weights}))
    return {"rmse": rmse}


def powers(x, degree):
    return [x**one for one in range(degree + 1)]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))
