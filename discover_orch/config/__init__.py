"""What the user configured: `orch.toml` or `pyproject.toml`, and the environment → a `Project`.

`file` finds the root and reads the file, `project` has their values and defaults, `settings` what each means and may
be. `setting_values` checks single values, `executor` says where tools run, `env_file` reads variables before all that.
What is wrong is a `Problem` with `path:line`; all problems are reported at once. Other packages import `env_file`,
`file`, `project` and `executor`.
"""
