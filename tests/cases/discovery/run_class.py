# expect: stage ingest | miss run is a class: it has to be a function
STAGE = "ingest"


class run:
    ...
