# expect: stage ingest | run n:int=1
STAGE = "ingest"


def main(n=1):
    ...


run = main
