"""The api/dicomweb room."""
