"""The text of one Python module → facts about it, by its syntax tree alone.

`read_module` turns bytes into `ModuleFacts` (the tags, `run()`, the docstring) or into a `BrokenModule`;
`read_exports` says what other modules can refer to, `resolve_module` replaces such references, `read_imports` lists
imports, `hash_code` hashes the code. Nothing is opened, imported or executed here, and no
text makes it raise.

Other packages import `facts`, `source_file`, `read_module`, `resolve`, `parse`, `imports` and `ast_hash`.
"""
