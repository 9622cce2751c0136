"""The command line: the only package that knows click, and the only one that prints.

The words of a command line go in; text on the terminal and an exit code come out. `app` is the only module that others
import (the entry point does). Each `x_command` is the command `orch x`, `options` declares what commands share,
`commands_with_tools` and `tool_options` turn the parameters of tools into flags, `show_run` and `show_watch` carry out
a run or a watch and write what it yields, and `console` is the terminal.
"""
