"""What works on a node that is not running."""

import asyncio
from pathlib import Path

from node.api.rest.audit import shown_proof
from node.api.rest.shapes.system import ProofShown
from node.app.keys import open_keys
from node.app.lock import exclusive
from node.app.storage import open_index
from node.config import load
from node.crypto.keystore import KeyStore
from node.sharing.audit import AuditProof, prove


def verify_audit(directory: Path) -> ProofShown:
    """Prove the audit log of the node in ``directory``; as ``POST /api/v1/audit/verification`` answers.

    Raises:
        NotInitialised, AlreadyRunning and others: why the store cannot be opened.
    """
    settings = load(directory)
    with exclusive(directory):
        keys = open_keys(directory, settings.node)
        return shown_proof(asyncio.run(_prove(directory, keys)))


async def _prove(directory: Path, keys: KeyStore) -> AuditProof:
    async with await open_index(directory, keys) as db, db.read() as rx:
        return await prove(rx, keys.identity)
