"""What orch writes into a user's project: a first project, a new tool, tags and settings, schedules.

What the project has goes in; `FileChange`s come out, which `files` writes all or not at all. Only what a command was
asked for is written, and no file is overwritten. Source is read, never run. For `orch adopt`, `orchestrator` reads
what is there, with `static_values`, `imported_values` and `old_flags`, and `adoption` decides, with `stage_lists`,
`passed_flags` and `connection_text`. Other packages import `files`, `first_project`, `new_tool`, `orchestrator`,
`adoption` and `schedule`.
"""
