"""What orch writes into a user's project: a first project, a new tool, tags and settings, schedules.

What the project has goes in; `FileChange`s come out, which `file_changes` writes all or not at all. Only what a
command was asked for is written, and no file is overwritten. Source is read, and run only by `orch adopt --import`, in
a child process. For `orch adopt`, `old_orchestrator` reads what is there (`step_lists` the steps, `old_calls` what
cannot be carried over, `old_connections` what `get_connection()` is given, `old_kinds` what any other file is), and
`adoption` decides.
Others import `file_changes`, `new_files`, `old_orchestrator`, `adoption` and `scheduler_files`. Three folders have
texts: `first_project`, `new_tool` and `schedules`.
"""
