"""Planning: from the words on the command line to the steps that run, in which order, with which arguments.

In come the working folder, the environment, targets and values, all as text. Out come a `ProjectView` (the project as
it was found) and a `Plan`. Nothing of the user's code is imported or run.

Doors: `project_view` (find a project, and ask about it), `remaining_work` (what is stale or accepted), `resume` (what
another run left), `parallel` (what may run side by side, and what would let it), `project_warnings` and
`dataflow_checks` (what is to be said of several tools together), `changed_since` (what differs from a commit),
`cleaning` (which files of tools may be deleted), `rebuild` (what `--rebuild` removes). `plan`, `param_values` and
`selection` have the values that these take and return.
"""
