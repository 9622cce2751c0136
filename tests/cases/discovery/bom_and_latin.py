# -*- coding: latin-1 -*-
# expect: broken 1 encoding stages
STAGE = "ingest"
