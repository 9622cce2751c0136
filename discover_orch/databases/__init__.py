"""Connections, transactions, and what statements do to tables.

A database URL or a user's connection goes in. `opening` opens a URL. `drivers` chooses the `driver_transaction` that a
tool runs in (`sqlite_transaction` is one), to which `memory_table` adds a row, and a `table_log` with the names of the
tables that a step read and wrote; `sqlite_user_connections` gives that of connections which tools open themselves.
`error_hints` says how to fix an error, `connection_settings` undoes what a tool has set, and `removal` drops what is
to be made anew. Only `worker` and
`testing` import these; `execution` asks `opening` whether a URL can be opened. The package knows no tools and no
project. A new driver is named in `drivers`.
"""
