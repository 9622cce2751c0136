# expect: stage ingest | run /a:str b:int=1 **
STAGE = "ingest"


def run(a, /, b=1, *rest, **extra):
    ...
