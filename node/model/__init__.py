"""Pure types and decisions: what the field talks about, without sockets, files, clocks or keys.

Nothing here imports asyncio, aiohttp, nacl, a database or pydicom (import-linter enforces it), so every rule that
decides about a patient's images can be read, and tested, on its own.
"""
