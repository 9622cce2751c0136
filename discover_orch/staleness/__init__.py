"""Whether a tool must run again, and why.

A success leaves a `tool_result`: the code, parameters, files, tables and packages that the tool depended on. `memory`
keeps it, `current_inputs` finds out what the same things are now, `rule` compares them, and `status` gives each tool
its `Freshness`, with each reason as a sentence. `live_status` keeps that up to date for a watch. Reads and hashes;
runs nothing. Doors: `status`, `live_status`, `memory`, `current_inputs`, `database_identity`, `tool_result`,
`import_graph`, `known_flow` (what tools read and write, as seen here or as `orch.lock` says).
"""
