"""File events: subscriptions, the adapter of watchdog, bursts."""
