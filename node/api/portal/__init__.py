"""``/portal/``: pages for patients."""
