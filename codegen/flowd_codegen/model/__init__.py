"""What a schema says, checked and resolved."""
