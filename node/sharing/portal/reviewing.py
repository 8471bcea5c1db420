"""Staff decide about what patients brought: both identities side by side, then stored under the local patient, or not.

Accepting is done in steps that can be done again: each study is admitted, then linked, and only then the upload is
closed; whoever is cut off in between accepts once more.
"""

import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from node.clock import Clock
from node.errors.access import NotFound
from node.errors.delivery import OwnStudy
from node.errors.portal_pages import NoSuchUpload, UploadDecided, UploadIdentityDiffers
from node.errors.storage import UnknownStudy
from node.model.access import Caller
from node.model.audit import AuditEvent, AuditType
from node.model.ids import PatientKey, PeerId, RequestId, StudyInstanceUID
from node.model.instance import Demographics, Manifest, ManifestEntry
from node.model.match import conflicts
from node.model.request import Subject
from node.model.transitions import step
from node.model.upload import TRANSITIONS, Upload, UploadedStudy, UploadEvent, UploadId, UploadState
from node.sharing.links import Links, check_patient, local_record
from node.sharing.portal.uploads import Uploads
from node.sharing.retention import Retention
from node.store import audit
from node.store import portal_pages as rows
from node.store.engine import Database, Read
from node.store.objects import ObjectStore
from node.store.pack_format import RecordMeta
from node.store.study_queries import StudyQuery

MAX_REASON = 400  # characters that the patient reads


@dataclass(frozen=True, slots=True)
class Review:
    """An upload beside the record that it is said to belong to."""

    upload: Upload
    local: Demographics
    studies: Sequence[UploadedStudy]
    differences: Mapping[StudyInstanceUID, tuple[str, ...]]  # what the files say otherwise than the record

    @property
    def differs(self) -> bool:
        """Whether anything contradicts the record."""
        return any(self.differences.values())


class UploadDesk:
    """The staff's side of uploads."""

    def __init__(
        self, *, db: Database, store: ObjectStore, uploads: Uploads, links: Links, retention: Retention, me: PeerId,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._db = db
        self._store = store
        self._uploads = uploads
        self._links = links
        self._retention = retention
        self._me = me
        self._clock = clock

    async def page(self, *, by: str) -> list[Upload]:
        """What waits, oldest first; the look is on record."""
        async with self._db.write() as tx:
            found = await rows.uploads_in(tx, UploadState.WAITING)
            detail: dict[str, str | int] = {"uploads": len(found)}
            await audit.append(tx, AuditEvent(AuditType.PORTAL_INBOX_READ, self._clock.now(), by, detail=detail))
        return found

    async def review(self, name: str, patient: PatientKey | None = None, *, by: str) -> Review:
        """One that waits, beside ``patient`` (the record it was brought for). Raises NoSuchUpload, UploadDecided."""
        async with self._db.write() as tx:
            upload = await _waiting(tx, name)
            target = patient or upload.patient
            local = await local_record(tx, target, Demographics())
            studies = uploaded_studies(await rows.staged(tx, upload.upload_id))
            event = AuditEvent(
                AuditType.PORTAL_INBOX_READ, self._clock.now(), by, patient=upload.patient,
                detail={"upload": str(upload.upload_id)},
            )  # fmt: skip
            await audit.append(tx, event)
        return Review(replace(upload, patient=target), local, studies, _differences(local, studies))

    async def accept(self, name: str, patient: PatientKey, *, by: str, despite_differences: bool = False) -> Upload:
        """Store everything of it under a local patient.

        Raises:
            NoSuchUpload, UploadDecided: not one that waits. InvalidLocalPatient: no such id can be.
            UploadIdentityDiffers: the files contradict the record, and nobody said that this is known.
        """
        check_patient(patient, Demographics())
        await self._store.indexed()
        async with self._db.read() as rx:
            upload = await _waiting(rx, name)
            staged = await rows.staged(rx, upload.upload_id)
            local = await local_record(rx, patient, Demographics())
            brought = await rows.studies_of(rx, upload.upload_id)
        if any(_differences(local, uploaded_studies(staged)).values()) and not despite_differences:
            raise UploadIdentityDiffers
        transfer, now = RequestId(upload.upload_id.value), self._clock.now()
        for manifest in _manifests(staged, now):
            async with self._db.write() as tx:
                await self._store.admit(tx, transfer, manifest, origin=self._me)
        for study in brought:
            with contextlib.suppress(OwnStudy, UnknownStudy):  # held here already, or put into quarantine
                await self._links.link(study, patient, by=by, despite_differences=True)
        return await self._decide(upload, UploadEvent.ACCEPT, by, "")

    async def refuse(self, name: str, reason: str, *, by: str) -> Upload:
        """Destroy what was brought; the patient reads why. Raises NoSuchUpload, UploadDecided."""
        async with self._db.read() as rx:
            upload = await _waiting(rx, name)
        await self._store.discard_staged(RequestId(upload.upload_id.value))
        text = " ".join("".join(c if c.isprintable() else " " for c in reason[:MAX_REASON]).split())
        return await self._decide(upload, UploadEvent.REFUSE, by, text)

    async def delete(self, caller: Caller, name: str) -> Upload:
        """What a patient does with what they brought: an accepted one goes for ever, too.

        Raises:
            NotFound: not theirs. StudyProtected, StudyInUse: the facility needs a study of it.
        """
        upload = await self._uploads.get(caller, name)
        if upload.state is not UploadState.ACCEPTED:
            if upload.state is UploadState.REFUSED:
                raise NotFound
            return await self._uploads.withdraw(caller, name)
        async with self._db.read() as rx:
            brought = await rows.studies_of(rx, upload.upload_id)
        held = await self._store.studies(StudyQuery(study_uids=tuple(brought))) if brought else []
        for study in held:
            if study.origin == self._me:  # never one that this facility made, whatever a medium calls it
                await self._retention.delete(study.study_instance_uid, "the patient deleted it", by=caller.actor)
        return await self._decide(upload, UploadEvent.DELETE, caller.actor, "")

    async def _decide(self, upload: Upload, event: UploadEvent, by: str, reason: str) -> Upload:
        now = self._clock.now()
        decided = replace(
            upload, state=step(TRANSITIONS, upload.state, event), decided_at=now, decided_by=by, reason=reason
        )
        kind = AuditType.PORTAL_UPLOAD_DELETED if event is UploadEvent.DELETE else AuditType.PORTAL_UPLOAD_DECIDED
        async with self._db.write() as tx:
            await rows.set_state(tx, decided)
            detail = {"upload": str(upload.upload_id), "decision": decided.state.value}
            await audit.append(tx, AuditEvent(kind, now, by, patient=upload.patient, detail=detail))
        return decided


async def _waiting(rx: Read, name: str) -> Upload:
    try:
        found = await rows.get_upload(rx, UploadId.parse(name))
    except ValueError as exc:
        raise NoSuchUpload from exc
    if found is None:
        raise NoSuchUpload
    if found.state is not UploadState.WAITING:
        raise UploadDecided
    return found


def uploaded_studies(staged: Sequence[RecordMeta]) -> list[UploadedStudy]:
    """The studies in what is staged; what the first instance of each says of the patient stands for it."""
    by_study: dict[StudyInstanceUID, list[RecordMeta]] = defaultdict(list)
    for meta in staged:
        by_study[meta.header.study_instance_uid].append(meta)
    return [
        UploadedStudy(
            uid,
            group[0].header.patient.patient_id,
            group[0].header.demographics,
            group[0].header.study_date,
            group[0].header.study_description,
            tuple(sorted({one.header.modality for one in group} - {""})),
            tuple(sorted({one.header.body_part for one in group} - {""})),
            len(group),
            sum(one.size for one in group),
        )
        for uid, group in by_study.items()
    ]


def _differences(local: Demographics, studies: Sequence[UploadedStudy]) -> dict[StudyInstanceUID, tuple[str, ...]]:
    subject = Subject(None, local)
    return {
        one.study: tuple(sorted(word.value for word in conflicts(subject, PatientKey("", ""), one.demographics)))
        for one in studies
    }


def _manifests(staged: Sequence[RecordMeta], now: int) -> list[Manifest]:
    by_study: dict[StudyInstanceUID, list[RecordMeta]] = defaultdict(list)
    for meta in staged:
        by_study[meta.header.study_instance_uid].append(meta)
    return [
        Manifest(
            uid,
            group[0].header.patient,
            1,
            now,
            tuple(
                ManifestEntry(
                    one.header.sop_class_uid, one.header.sop_instance_uid, one.header.series_instance_uid,
                    one.header.transfer_syntax_uid, one.size, one.digest,
                )
                for one in group
            ),
        )
        for uid, group in by_study.items()
    ]  # fmt: skip
