"""Execution: one run of a plan. Processes are started, watched and ended here, and nowhere else.

In comes a `Plan` with its project; out come events, one after another, until `RunFinished`. What happens is recorded
in `.orch/` before anybody sees it, with secrets masked.

Doors: `request` (from what was asked to a plan), `session` (run a plan), `run_events` (what happens, and the report),
`event_documents` (the same as users get it), `ledger_query` and `table_query` (what the
database knows), and for a watch, which starts a
worker before a run, `signal_handlers`, `warm_worker` and `supervisor`. `executors` has the ways to carry out a step.
"""
