"""File events of the operating system: folders in, batches of changed paths out.

`watcher` subscribes to folders through watchdog, `subscriptions` finds the folders, and `debounce` decides when a
burst of events is over. Events are hints: the truth is `watch.snapshot`, which compares the files themselves.
"""
