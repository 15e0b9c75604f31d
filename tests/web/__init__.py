"""The dashboard, over its ASGI application and in a browser."""
