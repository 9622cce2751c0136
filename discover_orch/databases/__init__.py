"""Connections, transactions, and what statements do to tables.

A database URL or a user's connection goes in. `opening` opens a URL. `drivers` finds the `database` of a connection,
one class a kind (`sqlite_database`): the `driver_transaction` that a tool runs in, a `table_log` with the names of
the tables that a step read and wrote, and what orch asks. `memory_table` adds a row to the transaction, `removal`
drops what is to be made anew, `item_rows` hashes and deletes the rows of one item, and `connection_settings` undoes
what a tool has set. `sqlite_user_connections` gives the log of connections which tools open themselves. `error_hints`
says how to fix an error. Only `worker` and `testing` import these; `execution` asks `opening` whether a URL can be
opened. The package knows no tools and no project.
"""
