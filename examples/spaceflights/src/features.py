"""What the model sees of a row, shared by the tools that train and evaluate. This module is no tool."""

import numpy as np
import pandas as pd

COLUMNS = ["engines", "passenger_capacity", "d_check_complete", "company_rating"]


def split(table: pd.DataFrame, share: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows to train with, and the last `share` of the rows to evaluate with."""
    size = round(len(table) * (1 - share))
    return table.iloc[:size], table.iloc[size:]


def matrix(table: pd.DataFrame) -> np.ndarray:
    return np.column_stack([np.ones(len(table)), table[COLUMNS].to_numpy(dtype=float)])
