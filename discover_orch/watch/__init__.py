"""A watch: keeps the results of a project up to date while its files change.

A request goes in; events of the watch and of its runs come out. `bursts` says which files have changed, `project` has
the status of the tools judged anew, `reactions` decides what is done about it, `schedule` what runs next, and `loop`
drives them all. Other packages import `loop` (a watch), `project` (what to watch), and `events` (what comes out).
"""
