"""Transcripts: a project's files, commands, edits, and what a user sees. `runner.py` says how to write one."""
