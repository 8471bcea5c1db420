"""``/console/``: pages for clinicians, operators and auditors."""
