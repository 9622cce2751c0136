# expect: stage problem | run
print(STAGE := "ingest")


def run():
    ...
