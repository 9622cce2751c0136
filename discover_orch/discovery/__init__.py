"""From the project's tree to its tools, stages and order. Runs nothing of the user's."""
