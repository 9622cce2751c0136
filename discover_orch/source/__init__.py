"""The text of one Python module → facts about it, by its syntax tree alone; and of a SQL file, by its comments.

`source_file` reads all that is kept of a file, `read_module` turns bytes into `ModuleFacts` (the tags, `run()`, the
docstring) or into a `BrokenTool`, and `read_sql` those of a SQL file; `scope` says what the names in a module mean,
`code_meaning` lists imports and hashes code. `command_line` finds what parses the command line itself. Nothing is
opened, imported or executed here, and no text raises.

Other packages import `facts`, `source_file`, `read_module`, `read_sql`, `scope`, `parse`, `code_meaning` and
`command_line`.
"""
