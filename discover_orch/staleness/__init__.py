"""Whether a tool must run again, and why."""
