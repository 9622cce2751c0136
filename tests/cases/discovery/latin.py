# -*- coding: latin-1 -*-
# expect: stage été | run
STAGE = "été"


def run():
    ...
