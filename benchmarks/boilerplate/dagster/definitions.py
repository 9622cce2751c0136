from pathlib import Path

import dagster as dg
import pandas as pd
import work


class Options(dg.Config):
    share: float = 0.2


@dg.asset
def companies() -> pd.DataFrame:
    return work.companies(pd.read_csv("data/companies.csv"))


@dg.asset
def shuttles() -> pd.DataFrame:
    return work.shuttles(pd.read_csv("data/shuttles.csv"))


@dg.asset
def model_input(shuttles: pd.DataFrame, companies: pd.DataFrame) -> pd.DataFrame:
    return work.model_input(shuttles, companies, pd.read_csv("data/reviews.csv"))


@dg.asset
def model(config: Options, model_input: pd.DataFrame) -> pd.DataFrame:
    return work.train(model_input, config.share)


@dg.asset
def score(config: Options, model_input: pd.DataFrame, model: pd.DataFrame) -> None:
    Path("score.txt").write_text(f"{work.evaluate(model_input, model, config.share):.3f}\n")


defs = dg.Definitions(assets=[companies, shuttles, model_input, model, score])
