"""Runs pytest with the plugin of orch, also in an environment that was made before it had an entry point."""

from __future__ import annotations

from importlib.metadata import entry_points

IS_INSTALLED = any(one.name == "orch" for one in entry_points(group="pytest11"))
#: The options that load the plugin.
PLUGIN = () if IS_INSTALLED else ("-p", "discover_orch_pytest")
