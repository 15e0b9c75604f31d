"""What a change of a schema breaks."""
