"""The schema, checked and resolved."""
