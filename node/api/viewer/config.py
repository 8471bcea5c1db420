"""OHIF's configuration (``app-config.js``), made for a session."""

from importlib.resources import files

import msgspec

from node.model.access import Role

_HOME = {Role.CLINICIAN: "/console/", Role.PATIENT: "/portal/"}


def app_config(node_name: str, role: Role) -> bytes:
    """A script: what only the node knows, then ``static/app-config.js``."""
    facts = msgspec.json.encode({"name": node_name, "home": _HOME.get(role, "")})
    return b"const leveret = " + facts + b";\n" + (files("node.api.viewer") / "static" / "app-config.js").read_bytes()
