# expect: broken 2 encoding stages
# -*- coding: utf-9 -*-
STAGE = "ingest"
