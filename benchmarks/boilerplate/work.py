"""The work of the Spaceflights pipeline, as plain functions of data frames, which every version calls."""

from __future__ import annotations

import numpy as np
import pandas as pd

COLUMNS = ["engines", "passenger_capacity", "d_check_complete", "company_rating"]


def companies(raw: pd.DataFrame) -> pd.DataFrame:
    rating = raw["company_rating"].str.rstrip("%").astype(float) / 100
    return raw.assign(company_rating=rating)


def shuttles(raw: pd.DataFrame) -> pd.DataFrame:
    price = raw["price"].str.replace(r"[$,]", "", regex=True).astype(float)
    return raw.assign(price=price, d_check_complete=raw["d_check_complete"] == "t")


def model_input(
    shuttles: pd.DataFrame, companies: pd.DataFrame, reviews: pd.DataFrame
) -> pd.DataFrame:
    rated = shuttles.merge(reviews, left_on="id", right_on="shuttle_id")
    return rated.merge(companies.rename(columns={"id": "company_id"}), on="company_id").dropna()


def train(table: pd.DataFrame, share: float) -> pd.DataFrame:
    rows = table.iloc[: round(len(table) * (1 - share))]
    weights, *_ = np.linalg.lstsq(_matrix(rows), rows["price"].to_numpy(), rcond=None)
    return pd.DataFrame({"weight": weights})


def evaluate(table: pd.DataFrame, model: pd.DataFrame, share: float) -> float:
    rows = table.iloc[round(len(table) * (1 - share)) :]
    price = rows["price"].to_numpy()
    rest = ((price - _matrix(rows) @ model["weight"].to_numpy()) ** 2).sum()
    return float(1 - rest / ((price - price.mean()) ** 2).sum())


def _matrix(rows: pd.DataFrame) -> np.ndarray:
    return np.column_stack([np.ones(len(rows)), rows[COLUMNS].to_numpy(dtype=float)])
