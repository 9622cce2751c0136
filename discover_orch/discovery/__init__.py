"""The project's tree → the tools that exist, their stages and their order. Runs no code of the user.

`source_files` keeps one record per Python file. `scanner.scan` reads those that have changed into a `Scan`, and
`registry.build_registry` makes a `Registry` of it, with the problems of broken tools, in which `items` puts the steps
of items. Other packages import these, `tree` for the marks of files, and `orch_tag` for the keys of `ORCH`.
"""
