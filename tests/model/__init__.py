"""Names of keys, points in time and redaction."""
