"""The configuration: its file, what it may say, and what the user set, as a value."""
