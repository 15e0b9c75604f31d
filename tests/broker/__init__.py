"""Connections, replies, scripts and retries."""
