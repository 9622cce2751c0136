"""Planning: from the words on the command line to the steps that run, in which order, with which arguments.

In come the working folder, the environment, targets and values, all as text. Out come a `ProjectView` (the project as
it was found) and a `Plan`. Nothing of the user's code is imported or run.

Doors: `project_reader` (find a project), `project_view` (ask about it), `incremental` (what is stale or accepted),
`resume` (what another run left), `parallel` and `parallel_advice` (what may run side by side, and what would let it),
`param_versions` (what staleness compares of parameters), `dataflow_checks` (what is to be said of the order of tools),
`cleaning` (which files of tools may be deleted). `plan`, `param_values` and `selection` have the values that these
take and return.
"""
