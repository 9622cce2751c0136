# expect: stage problem | run
import os

STAGE = os.environ["STAGE"]


def run():
    ...
