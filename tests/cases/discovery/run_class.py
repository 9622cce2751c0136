# expect: stage ingest | miss run is a class, not a function
STAGE = "ingest"


class run:
    ...
