"""The api/rest room."""
