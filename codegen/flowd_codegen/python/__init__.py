"""The model to Python source."""
