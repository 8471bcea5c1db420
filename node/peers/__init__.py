"""The peers room."""
