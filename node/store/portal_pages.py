"""What the portal's pages keep: the key of their names, uploads, messages."""

from collections.abc import Iterable, Sequence

from node.model.ids import PatientKey, RequestId, StudyInstanceUID
from node.model.message import Message, MessageId, MessageKind, MessageOutcome
from node.model.upload import Upload, UploadId, UploadState
from node.store.engine import Read, Row, Write
from node.store.pack_format import RecordMeta

_UPLOAD = (
    "upload, actor, issuer, patient_id, note, state, files, bytes, refused, begun_at, decided_at, decided_by, reason"
)
_MESSAGE = (
    "message, actor, issuer, patient_id, study_uid, kind, text, sent_at, answer, outcome, answered_at, answered_by,"
    " seen_at"
)
_LIMIT = 500  # rows of one list


async def handle_key(rx: Read) -> bytes:
    """The key of the names of studies (32 bytes)."""
    return bytes(await rx.fetch_value("SELECT key FROM portal_handle_key"))


# Uploads


async def add_upload(tx: Write, one: Upload) -> None:
    """Begin an upload."""
    await tx.execute(
        f"INSERT INTO portal_upload ({_UPLOAD}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - fixed texts
        (
            one.upload_id.value, one.actor, one.patient.issuer, one.patient.patient_id, one.note, one.state.value,
            one.files, one.size, one.refused, one.begun_at, one.decided_at, one.decided_by, one.reason,
        ),
    )  # fmt: skip


async def get_upload(rx: Read, upload_id: UploadId) -> Upload | None:
    """One upload."""
    row = await rx.fetch_one(f"SELECT {_UPLOAD} FROM portal_upload WHERE upload = ?", (upload_id.value,))  # noqa: S608 - fixed texts
    return None if row is None else _upload(row)


async def uploads_of(rx: Read, actor: str) -> list[Upload]:
    """What an account brought, newest first; deleted ones are left out."""
    rows = await rx.fetch_all(
        f"SELECT {_UPLOAD} FROM portal_upload WHERE actor = ? AND state <> 'DELETED'"  # noqa: S608 - fixed texts
        " ORDER BY begun_at DESC LIMIT ?",
        (actor, _LIMIT),
    )
    return [_upload(row) for row in rows]


async def uploads_in(rx: Read, state: UploadState, *, begun_before: int | None = None) -> list[Upload]:
    """All uploads in a state, oldest first."""
    rows = await rx.fetch_all(
        f"SELECT {_UPLOAD} FROM portal_upload WHERE state = ?1 AND (?2 IS NULL OR begun_at < ?2)"  # noqa: S608 - fixed texts
        " ORDER BY begun_at LIMIT ?3",
        (state.value, begun_before, _LIMIT),
    )
    return [_upload(row) for row in rows]


async def count_file(tx: Write, upload_id: UploadId, *, taken: int, size: int, refused: int) -> None:
    """More files of an open upload."""
    await tx.execute(
        "UPDATE portal_upload SET files = files + ?, bytes = bytes + ?, refused = refused + ? WHERE upload = ?",
        (taken, size, refused, upload_id.value),
    )


async def set_state(tx: Write, one: Upload) -> None:
    """Where it stands now, and who decided."""
    await tx.execute(
        "UPDATE portal_upload SET state = ?, decided_at = ?, decided_by = ?, reason = ? WHERE upload = ?",
        (one.state.value, one.decided_at, one.decided_by, one.reason, one.upload_id.value),
    )


async def add_studies(tx: Write, upload_id: UploadId, studies: Iterable[StudyInstanceUID]) -> None:
    """The studies that an upload brought."""
    await tx.execute_many(
        "INSERT INTO portal_upload_study (upload, study_uid) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(upload_id.value, str(study)) for study in studies],
    )


async def studies_of(rx: Read, upload_id: UploadId) -> list[StudyInstanceUID]:
    """The same again."""
    rows = await rx.fetch_all(
        "SELECT study_uid FROM portal_upload_study WHERE upload = ? ORDER BY study_uid", (upload_id.value,)
    )
    return [StudyInstanceUID(row[0]) for row in rows]


async def staged(rx: Read, upload_id: UploadId) -> list[RecordMeta]:
    """What was brought and is staged."""
    rows = await rx.fetch_all(
        "SELECT meta FROM staged WHERE transfer = ? ORDER BY study_uid, uid", (RequestId(upload_id.value).value,)
    )
    return [RecordMeta.decode(bytes(row[0])) for row in rows]


def _upload(row: Row) -> Upload:
    return Upload(UploadId(bytes(row[0])), row[1], PatientKey(row[2], row[3]), row[4], UploadState(row[5]), *row[6:])


# Messages


async def add_message(tx: Write, one: Message) -> None:
    """Keep a message."""
    await tx.execute(
        "INSERT INTO portal_message (message, actor, issuer, patient_id, study_uid, kind, text, sent_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            one.message_id.value, one.actor, one.patient.issuer, one.patient.patient_id,
            None if one.study is None else str(one.study), one.kind.value, one.text, one.sent_at,
        ),
    )  # fmt: skip


async def get_message(rx: Read, message_id: MessageId) -> Message | None:
    """One message."""
    row = await rx.fetch_one(f"SELECT {_MESSAGE} FROM portal_message WHERE message = ?", (message_id.value,))  # noqa: S608 - fixed texts
    return None if row is None else _message(row)


async def messages_of(rx: Read, actor: str) -> list[Message]:
    """What an account sent, newest first."""
    rows = await rx.fetch_all(
        f"SELECT {_MESSAGE} FROM portal_message WHERE actor = ? ORDER BY sent_at DESC LIMIT ?",  # noqa: S608 - fixed texts
        (actor, _LIMIT),
    )
    return [_message(row) for row in rows]


async def messages(rx: Read, *, is_open: bool) -> Sequence[Message]:
    """Those that wait, oldest first; or those that were answered, last first."""
    which = "answered_at IS NULL ORDER BY sent_at" if is_open else "answered_at IS NOT NULL ORDER BY answered_at DESC"
    rows = await rx.fetch_all(f"SELECT {_MESSAGE} FROM portal_message WHERE {which} LIMIT ?", (_LIMIT,))  # noqa: S608 - fixed texts
    return [_message(row) for row in rows]


async def answer(tx: Write, one: Message) -> bool:
    """Keep an answer; False if there is one already."""
    assert one.outcome is not None
    changed = await tx.execute(
        "UPDATE portal_message SET answer = ?, outcome = ?, answered_at = ?, answered_by = ?"
        " WHERE message = ? AND answered_at IS NULL",
        (one.answer, one.outcome.value, one.answered_at, one.answered_by, one.message_id.value),
    )
    return changed == 1


async def seen(tx: Write, actor: str, now: int) -> None:
    """The account has seen its answers."""
    await tx.execute(
        "UPDATE portal_message SET seen_at = ? WHERE actor = ? AND answered_at IS NOT NULL AND seen_at IS NULL",
        (now, actor),
    )


def _message(row: Row) -> Message:
    return Message(
        MessageId(bytes(row[0])), row[1], PatientKey(row[2], row[3]),
        None if row[4] is None else StudyInstanceUID(row[4]), MessageKind(row[5]), row[6], row[7], row[8],
        MessageOutcome(row[9]) if row[9] else None, row[10], row[11], row[12],
    )  # fmt: skip
