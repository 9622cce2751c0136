# expect: broken 2 conflict stages
<<<<<<< ours
STAGE = "ingest"
=======
STAGE = "other"
>>>>>>> theirs
