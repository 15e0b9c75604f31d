"""Small real programs that use flowd, each run by a test."""
