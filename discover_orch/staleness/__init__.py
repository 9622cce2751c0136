"""Whether a tool must run again, and why.

A success leaves a fingerprint: the code, parameters, files, tables and packages that the tool depended on. `memory`
keeps it, `current` finds out what the same things are now, and `status` gives each tool its `Freshness`, with each
reason as a sentence. `affected` and `import_graph` say which tools a change reaches. Reads and hashes; runs nothing.
Doors: `status`, `memory`, `current`, `import_graph`, `affected`, `all_fresh_cache`.
"""
