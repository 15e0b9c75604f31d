"""The model to other languages and to pages."""
