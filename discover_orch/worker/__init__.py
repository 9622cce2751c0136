"""The child process that loads and runs the user's code, and observes what it does.

The parent (`execution`) starts it with `spawn` and talks with it in the values of `protocol`: orders go in,
messages come out. `loader` is the only module of orch that imports the user's code. Other packages may import
`protocol` and `spawn`; `execution` also reads exits with `tracebacks` and `child_processes` and answers what
`kernel_filter` has the kernel ask, and `testing` uses
`tool_call`, `checks`, `sql_tool` and `resources`.
"""
