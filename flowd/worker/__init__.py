"""What a running queue does: read, execute, settle, renew, maintain."""
