# expect: broken 7 syntax stages ingest
STAGE = "ingest"
X = 1
TEXT = """
STAGE = "other"
"""
TEXT = """
STAGE = "other"
