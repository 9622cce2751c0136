"""From words typed to a plan: targets, parameters, order, and the doubts about it."""
