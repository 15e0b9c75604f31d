"""The way to Redis: URL, connection, protocol, keys, scripts and stream commands."""
