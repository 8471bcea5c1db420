"""Receipts: the recipient's signed word that it verified and admitted exactly what was released; both sides keep it."""

from node.crypto.identity import Identity
from node.crypto.jws import JwsType, sign_jws, verify_jws
from node.errors.crypto_identity import BadSignature
from node.errors.sharing import NoSuchRequest, ReceiptRefused, SignerMismatch
from node.model.audit import AuditEvent, AuditType
from node.model.release import Receipt, ReleaseManifest
from node.model.transfer import ENDED, TransferEvent, TransferState
from node.peers.messages import MAX_NOTICE_BYTES, decode_receipt, encode_receipt
from node.store import audit, transfers
from node.store.engine import Write


def sign_receipt(identity: Identity, manifest: ReleaseManifest, digest: bytes, at: int) -> str:
    """The recipient's receipt for the manifest whose JWS has this SHA-256."""
    receipt = Receipt(
        manifest.request_id,
        manifest.holder,
        identity.peer_id,
        at,
        digest,
        len(manifest.instances),
        manifest.total_bytes,
    )
    return sign_jws(identity, JwsType.RECEIPT, encode_receipt(receipt))


def read_receipt(token: str, public_key: bytes) -> Receipt:
    """A receipt that the owner of ``public_key`` signed; raises SignerMismatch, RequestMalformed."""
    try:
        return decode_receipt(verify_jws(token, JwsType.RECEIPT, public_key, max_bytes=MAX_NOTICE_BYTES))
    except BadSignature as exc:
        raise SignerMismatch from exc


async def take_receipt(tx: Write, receipt: Receipt, token: str, *, now: int) -> bool:
    """Keep at the holder what the recipient signed, and complete the transfer; False if it was there already.

    A receipt for a release that meanwhile expired or was revoked is kept all the same: it says what happened.

    Raises:
        NoSuchRequest: nothing was released. ReceiptRefused: it is about something else.
    """
    request_id, peer = receipt.request_id, receipt.recipient
    transfer = await transfers.get(tx, request_id)
    released = await transfers.release_of(tx, request_id)
    if transfer is None or released is None:
        raise NoSuchRequest
    said = (receipt.manifest, receipt.instances, receipt.total_bytes)
    if said != (released.digest, transfer.instances_total, transfer.bytes_total):
        raise ReceiptRefused
    if await transfers.receipt_of(tx, request_id) is not None:
        return False
    await transfers.keep_receipt(tx, request_id, token, done_at=now)
    if transfer.state not in ENDED:
        await transfers.move(tx, request_id, TransferEvent.RECEIPT, at=now)
        await transfers.set_progress(
            tx, request_id, instances=transfer.instances_total, size=transfer.bytes_total, at=now
        )
    for study in transfer.studies:
        event = AuditEvent(
            AuditType.RECEIPT_RECEIVED,
            now,
            f"peer:{peer.compact}",
            peer=peer,
            study=study,
            request=request_id,
            detail={"manifest": released.digest.hex(), "state": TransferState.COMPLETED.value},
        )
        await audit.append(tx, event)
    return True
