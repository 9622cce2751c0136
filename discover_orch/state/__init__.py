"""What orch keeps in `.orch/`: the index, the journal of runs, the lock."""
