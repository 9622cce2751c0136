# expect: stage ingest | run conn:str source:str="in.csv"
"""Fetch it."""
STAGE = "ingest"


def run(conn, *, source="in.csv"):
    ...
