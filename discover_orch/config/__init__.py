"""What the user configured: `orch.toml` or `pyproject.toml`, and the environment → a `Project`.

`file` finds the root and reads the file, and the variables of `env_file` before it; `project` has their values and
defaults, `settings` what each means and may be, where tools run too. `setting_values` checks single values. What is
wrong is a `Problem` with `path:line`; all problems are reported at once. Other packages import `file`, `project` and
`settings`.
"""
