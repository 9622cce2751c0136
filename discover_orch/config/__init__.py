"""What the user configured: `orch.toml` or `pyproject.toml`, and the environment → a `Project`.

`file` finds the root and reads the file, `project` has the settings, `rules` the rule of each, `meanings` what each
means. `validation` checks single values, `executor` says where tools run. What is wrong is a `Problem` with
`path:line`; all problems are reported at once. Other packages import `file`, `project`, `executor` and `meanings`.
"""
