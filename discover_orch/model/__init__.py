"""What all other packages speak of: tools, graphs, data flows, problems. Pure values."""
