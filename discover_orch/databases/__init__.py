"""Databases: connections, transactions, drivers, and what statements of SQL do to tables."""
