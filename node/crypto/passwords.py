"""Passwords of local users: argon2id in PHC form. Takes tens of milliseconds and 64 MiB on purpose: use a thread."""

from nacl import exceptions, pwhash

# RFC 9106 section 4, second recommended option (3 passes, 64 MiB): interactive log-in on a small server.
_PASSES = 3
_MEMORY_BYTES = 64 * 1024 * 1024


def hash_password(password: bytes) -> str:
    """A PHC string with a fresh salt."""
    return pwhash.argon2id.str(password, opslimit=_PASSES, memlimit=_MEMORY_BYTES).rstrip(b"\0").decode("ascii")


def password_is(stored: str | None, password: bytes) -> bool:
    """Whether ``stored`` was made from ``password``. Without ``stored`` the answer is no, and takes as long."""
    if stored is None:
        hash_password(password)
        return False
    try:
        return pwhash.verify(stored.encode("ascii"), password)
    except exceptions.InvalidkeyError:
        return False
