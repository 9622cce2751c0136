# expect: broken 1 encoding stages
# -*- coding: utf-9 -*-
STAGE = "ingest"
