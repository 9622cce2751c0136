# expect: run | miss STAGE is imported, not assigned in this module
from settings import STAGE


def run():
    ...
