"""Leveret: a peer-to-peer node for medical images.

The rooms and the direction of their imports are drawn in ``docs/architecture.md``.
"""

__version__ = "0.1.0"
