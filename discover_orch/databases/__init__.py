"""Connections, transactions, and what statements do to tables.

A database URL or a user's connection goes in. `opening` opens a URL, and `transactions` gives the transaction that a
tool runs in, to which `ledger` adds a row; `sqlite_tables` and `drivers` give a `table_log`, with the names of
the tables that a step read and wrote. `connection_settings` undoes what a tool has set. Only `worker` imports these
seven; `testing` imports `opening` and `transactions`. `execution` asks `opening` whether a URL can be opened. The
package knows no tools and no project. A new driver is a module `driver_x`, named in `drivers` (how it is heard)
and `transactions` (how it commits).
"""
