# expect: stage ingest,analyze | run
STAGE = ["ingest", "ana" "lyze"]


def run():
    ...
