# expect: run | miss has run() but no STAGE
"""
STAGE = "ingest"
"""
# STAGE = "ingest"


def run():
    """
STAGE = "x"
"""
    STAGE = "y"


class C:
    STAGE = "z"
