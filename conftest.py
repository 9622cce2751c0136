"""The root of the tests' layout: lets `tests` import `discover_orch` from this checkout, installed or not."""
