"""The crypto room."""
