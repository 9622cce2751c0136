"""The process that imports and runs the user's code, and how it is started."""
