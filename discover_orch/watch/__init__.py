"""A watch: keeps the results of a project up to date while its files change.

A request goes in; events of the watch and of its runs come out. `bursts` says which files have changed,
`watched_project` has the status of the tools judged anew, `reactions` decides what is done about it, `next_run` what
runs next, and `loop` drives them all. Other packages import `loop` (a watch), `watched_project` (what to watch), and
`watch_events` (what comes out).
"""
