"""Bodies of STOW-RS for schemathesis, which knows JSON; named by SCHEMATHESIS_HOOKS."""

from typing import Any

import schemathesis


@schemathesis.serializer("application/dicom", "multipart/related")
def octets(_context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
