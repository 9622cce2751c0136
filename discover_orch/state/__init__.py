"""What orch keeps in `.orch/` between two commands: the index of the last scan, the runs, the results, the lock.

Values go in and come back, or nothing does: a file that is damaged, of another version or unreadable costs the memory
and never the run. Doors: `sealed_files` (files as a whole, and what tools read and write), `journal` and the
values of `recorded_run` and `run_diff` (runs), `report_source` (all about one run), `lock` (and who writes a run),
`flow_lock` (`orch.lock`, which is beside `.orch/`, for git).
Nothing here knows what makes a tool stale.
"""
