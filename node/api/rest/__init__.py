"""``/api/v1``: one file per resource. Each class takes the use cases it needs and names its routes.

Patient ids in paths are opaque (:mod:`.patients`), because paths end up in logs and histories. Bodies are decoded
strictly; answers carry everything that the command line and the console show, and nothing else.
"""
