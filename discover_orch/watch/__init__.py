"""A watch: keeps the results of a project up to date while its files change.

A request goes in; events of the watch and of its runs come out. `event_sources` waits for signals, keys and file
events, `changes` decides what changed files mean, `schedule` says what runs next, and `loop` drives them all. Other
packages import `loop` (a watch), `request` (what to watch), `watch_events` (what comes out), and `project_state` and
`self_check` (how watching works on this machine).
"""
