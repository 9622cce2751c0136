# expect: run | miss STAGE is imported: a tag is assigned in the module itself
from settings import STAGE


def run():
    ...
