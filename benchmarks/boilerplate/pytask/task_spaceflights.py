from pathlib import Path
from typing import Annotated

import pandas as pd
import work
from pytask import DataCatalog, Product

data = DataCatalog()


def task_companies(
    file: Path = Path("data/companies.csv"),
) -> Annotated[pd.DataFrame, data["companies"]]:
    return work.companies(pd.read_csv(file))


def task_shuttles(
    file: Path = Path("data/shuttles.csv"),
) -> Annotated[pd.DataFrame, data["shuttles"]]:
    return work.shuttles(pd.read_csv(file))


def task_model_input(
    shuttles: Annotated[pd.DataFrame, data["shuttles"]],
    companies: Annotated[pd.DataFrame, data["companies"]],
    file: Path = Path("data/reviews.csv"),
) -> Annotated[pd.DataFrame, data["model_input"]]:
    return work.model_input(shuttles, companies, pd.read_csv(file))


def task_train(
    table: Annotated[pd.DataFrame, data["model_input"]], share: float = 0.2
) -> Annotated[pd.DataFrame, data["model"]]:
    return work.train(table, share)


def task_evaluate(
    table: Annotated[pd.DataFrame, data["model_input"]],
    model: Annotated[pd.DataFrame, data["model"]],
    score: Annotated[Path, Product] = Path("score.txt"),
    share: float = 0.2,
) -> None:
    score.write_text(f"{work.evaluate(table, model, share):.3f}\n")
