"""Connections, transactions, and what statements do to tables.

A database URL or a user's connection goes in. `transactions` gives the transaction that a tool runs in;
`sqlite_tables` and `statement_log` give a `table_log`, with the names of the tables that a step read and wrote.
Only `worker` imports this package, and only these four modules; `testing` imports `transactions`. It knows no
tools and no project. A new driver is a module `driver_x`, named in `statement_log` (how it is heard) and
`transactions` (how it commits).
"""
