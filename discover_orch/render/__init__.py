"""Values → text for people, JSON documents, pages and pictures.

Plans, runs, listings, problems and events go in; strings and the values of `model/documents.py` come out. Nothing here
writes to a
stream, asks for the time or knows click. Text of users' files and tools is cleaned here (`style.clean`), so that it
cannot control the terminal. Each module renders one subject, and `cli` imports them all.
"""
