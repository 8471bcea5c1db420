"""Transfers in both directions, moved by the table in ``model.transfer``."""

from dataclasses import dataclass

import msgspec

from node.model.ids import PeerId, RequestId, StudyInstanceUID
from node.model.release import ReleaseManifest
from node.model.transfer import (
    ENDED,
    Direction,
    Transfer,
    TransferEvent,
    TransferState,
    next_transfer_state,
)
from node.store.engine import Read, Row, Write


@dataclass(frozen=True, slots=True)
class StoredRelease:
    """The holder's JWS as signed, its SHA-256, and until when it is good."""

    manifest: str
    digest: bytes
    expires_at: int


_COLUMNS = (
    "t.request_id, t.direction, t.peer, t.state, t.instances_done, t.instances_total, t.bytes_done, t.bytes_total,"
    " t.wire_bytes, t.seconds, t.code, t.created_at, t.updated_at,"
    " (SELECT json_group_array(study_uid) FROM"
    "  (SELECT study_uid FROM transfer_study s WHERE s.request_id = t.request_id ORDER BY position))"
)


async def add(
    tx: Write, request_id: RequestId, direction: Direction, peer: PeerId, state: TransferState, *, at: int
) -> None:
    """Begin a transfer; ConstraintViolated if the id is taken."""
    await tx.execute(
        "INSERT INTO transfer (request_id, direction, peer, state, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)",
        (request_id.value, direction.value, peer.digest, state.value, at, at),
    )


async def set_release(tx: Write, token: str, digest: bytes, manifest: ReleaseManifest) -> None:
    """Keep what was released under a transfer."""
    await tx.execute(
        "UPDATE transfer SET manifest = ?, manifest_digest = ?, expires_at = ?, instances_total = ?, bytes_total = ?"
        " WHERE request_id = ?",
        (
            token,
            digest,
            manifest.expires_at,
            len(manifest.instances),
            manifest.total_bytes,
            manifest.request_id.value,
        ),
    )
    await tx.execute_many(
        "INSERT INTO transfer_study (request_id, position, study_uid, revision) VALUES (?, ?, ?, ?)",
        [
            (manifest.request_id.value, position, str(study.study_instance_uid), study.revision)
            for position, study in enumerate(manifest.studies)
        ],
    )


async def release_of(rx: Read, request_id: RequestId) -> StoredRelease | None:
    """What was released under a transfer, if it has come that far."""
    row = await rx.fetch_one(
        "SELECT manifest, manifest_digest, expires_at FROM transfer WHERE request_id = ? AND manifest IS NOT NULL",
        (request_id.value,),
    )
    return None if row is None else StoredRelease(row[0], bytes(row[1]), row[2])


async def is_released(rx: Read, request_id: RequestId) -> bool:
    """Whether it is known what was released; without reading a manifest that may be large."""
    return bool(
        await rx.fetch_value("SELECT manifest IS NOT NULL FROM transfer WHERE request_id = ?", (request_id.value,))
    )


async def get(rx: Read, request_id: RequestId) -> Transfer | None:
    """One transfer."""
    row = await rx.fetch_one(f"SELECT {_COLUMNS} FROM transfer t WHERE t.request_id = ?", (request_id.value,))  # noqa: S608 - fixed texts
    return None if row is None else _transfer(row)


async def page(rx: Read, *, limit: int = 1000, offset: int = 0) -> list[Transfer]:
    """Transfers, newest first."""
    sql = f"SELECT {_COLUMNS} FROM transfer t ORDER BY t.created_at DESC, t.rowid DESC LIMIT ? OFFSET ?"  # noqa: S608 - fixed texts
    return [_transfer(row) for row in await rx.fetch_all(sql, (limit, offset))]


async def unfinished(rx: Read, direction: Direction) -> list[Transfer]:
    """Transfers that are not at an end, oldest first."""
    rows = await rx.fetch_all(
        f"SELECT {_COLUMNS} FROM transfer t WHERE t.direction = ?"  # noqa: S608 - fixed texts
        " AND t.state NOT IN ('COMPLETED', 'FAILED', 'CANCELLED') ORDER BY t.created_at, t.rowid",
        (direction.value,),
    )
    return [_transfer(row) for row in rows]


async def arriving(rx: Read, study: StudyInstanceUID) -> Transfer | None:
    """The newest transfer that brings ``study``, or more of it, and is not at an end."""
    row = await rx.fetch_one(
        f"SELECT {_COLUMNS} FROM transfer_study b JOIN transfer t ON t.request_id = b.request_id"  # noqa: S608 - fixed texts
        " WHERE b.study_uid = ? AND t.direction = 'in' AND t.state NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')"
        " ORDER BY t.created_at DESC, t.rowid DESC LIMIT 1",
        (str(study),),
    )
    return None if row is None else _transfer(row)


async def expired(rx: Read, direction: Direction, now: int) -> list[Transfer]:
    """Those of the unfinished whose release is over."""
    rows = await rx.fetch_all(
        f"SELECT {_COLUMNS} FROM transfer t WHERE t.direction = ? AND t.expires_at <= ?"  # noqa: S608 - fixed texts
        " AND t.state NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')",
        (direction.value, now),
    )
    return [_transfer(row) for row in rows]


async def move(tx: Write, request_id: RequestId, event: TransferEvent, *, at: int, code: str = "") -> TransferState:
    """Move a transfer by the table; ``code`` says why it fails or stands still. Raises IllegalTransition."""
    value = await tx.fetch_value("SELECT state FROM transfer WHERE request_id = ?", (request_id.value,))
    state = next_transfer_state(TransferState(value), event)
    await tx.execute(
        "UPDATE transfer SET state = ?, code = ?, updated_at = ? WHERE request_id = ?",
        (state.value, code, at, request_id.value),
    )
    return state


async def end_if_unfinished(tx: Write, request_id: RequestId, event: TransferEvent, *, code: str, at: int) -> bool:
    """FAIL or CANCEL a transfer that is not at an end; whether it was not."""
    transfer = await get(tx, request_id)
    if transfer is None or transfer.state in ENDED:
        return False
    await move(tx, request_id, event, at=at, code=code)
    return True


async def set_progress(tx: Write, request_id: RequestId, *, instances: int, size: int, at: int) -> None:
    """How many instances and bytes are done."""
    await tx.execute(
        "UPDATE transfer SET instances_done = ?, bytes_done = ?, updated_at = ? WHERE request_id = ?",
        (instances, size, at, request_id.value),
    )


async def add_effort(tx: Write, request_id: RequestId, *, wire_bytes: int, seconds: float) -> None:
    """Add what one attempt cost."""
    await tx.execute(
        "UPDATE transfer SET wire_bytes = wire_bytes + ?, seconds = seconds + ? WHERE request_id = ?",
        (wire_bytes, seconds, request_id.value),
    )


async def keep_receipt(tx: Write, request_id: RequestId, token: str, *, done_at: int | None) -> None:
    """Keep a receipt's JWS; ``done_at`` None means that the holder must still be given it."""
    await tx.execute(
        "UPDATE transfer SET receipt = ?, receipt_done_at = ? WHERE request_id = ?",
        (token, done_at, request_id.value),
    )


async def receipt_done(tx: Write, request_id: RequestId, at: int) -> None:
    """The holder acknowledged the receipt, or refused it for good."""
    await tx.execute("UPDATE transfer SET receipt_done_at = ? WHERE request_id = ?", (at, request_id.value))


async def receipt_of(rx: Read, request_id: RequestId) -> str | None:
    """The receipt's JWS, if there is one."""
    value = await rx.fetch_value("SELECT receipt FROM transfer WHERE request_id = ?", (request_id.value,))
    return None if value is None else str(value)


async def receipts_to_deliver(rx: Read) -> list[RequestId]:
    """Completed transfers whose holder has not acknowledged the receipt."""
    rows = await rx.fetch_all(
        "SELECT request_id FROM transfer WHERE direction = 'in' AND receipt IS NOT NULL AND receipt_done_at IS NULL"
    )
    return [RequestId(bytes(row[0])) for row in rows]


def _transfer(row: Row) -> Transfer:
    return Transfer(
        request_id=RequestId(bytes(row[0])),
        direction=Direction(row[1]),
        peer=PeerId(bytes(row[2])),
        state=TransferState(row[3]),
        studies=tuple(StudyInstanceUID(uid) for uid in msgspec.json.decode(row[13], type=list[str])),
        instances_done=row[4],
        instances_total=row[5],
        bytes_done=row[6],
        bytes_total=row[7],
        wire_bytes=row[8],
        seconds=row[9],
        code=row[10],
        created_at=row[11],
        updated_at=row[12],
    )
