"""What REST answers: handlers return these types, ``openapi.json`` describes them. Times are seconds (Unix)."""
