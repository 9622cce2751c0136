"""The PostgreSQL database: SHOP_DATABASE=postgresql://user:password@host/name"""

import os

import psycopg


def get_connection() -> psycopg.Connection:
    return psycopg.connect(os.environ["SHOP_DATABASE"])
