"""The text of one module to facts, by its syntax tree. Pure."""
