"""What the portal's pages keep: the key of their names, uploads, messages."""

from node.store.engine import Read


async def handle_key(rx: Read) -> bytes:
    """The key of the names of studies (32 bytes)."""
    return bytes(await rx.fetch_value("SELECT key FROM portal_handle_key"))
