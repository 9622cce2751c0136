"""Any value → text for a terminal, or JSON. Writes to no stream and knows no click."""
