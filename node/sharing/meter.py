"""The meter: what fetching priors brought, honestly.

Confirmed is what a clinician said of a request: seen before an order, nothing ordered, an order cancelled. Everything
else is an estimate by published rates, which disagree, and is shown apart with its range. Doses are those of the
fetched study's own dose report, else typical ones with range and source; they are not added up, and no risk is
computed.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from node.clock import Clock
from node.dicom.dose_report import DOSE_REPORTS, ReportedDose, Tree, read_dose
from node.dicom.pool import ParserPool
from node.errors.access import InvalidInput
from node.errors.base import LeveretError
from node.errors.meter import NothingCame
from node.log import Logger
from node.model.audit import AuditEvent, AuditType
from node.model.doses import TYPICAL_DOSES, TypicalDose
from node.model.ids import RequestId, SOPClassUID, StudyInstanceUID
from node.model.transfer import Transfer, TransferState
from node.store import audit, transfers
from node.store import meter as rows
from node.store.engine import Database, Write
from node.store.meter import SPARED, Confirmation, Effect, Fetched
from node.store.objects import ObjectStore
from node.store.study_queries import InstanceQuery, StudyQuery

MONTH_SECONDS = 30 * 86_400
_MAX_REPORTS = 20  # dose reports of one request that are looked at
_LINK = "urn:leveret:meter"  # nothing of a dose report is fetched by link

# Published effects of sharing on repeats, per hundred, the smallest and the largest: what speaks against it, too.
LEAST_SPARED, MOST_SPARED = 0, 17
SOURCES: Sequence[tuple[str, str]] = (
    ("Sodickson 2011", "images of transferred patients imported from CD: 17 % less imaging, 16 % less CT"),
    ("Banerjee 2016", "repeat CT 38.4 % without, 28.1 % with earlier images"),
    ("Vest 2014", "repeats within 90 days 8 % without, 5 % with access"),
    ("Lammers 2014", "9 to 13 percentage points fewer repeats"),
    ("AJMC 2024, Medicare 2018", "no reduction for readmissions within one exchange (odds ratio 1.06)"),
)


@dataclass(frozen=True, slots=True)
class Spared:
    """Examinations of one kind that clinicians said were spared."""

    examination: TypicalDose
    count: int
    cancelled: int  # of them: an order was cancelled
    reported: tuple[ReportedDose, ...]  # by the fetched studies' own dose reports


@dataclass(frozen=True, slots=True)
class Reading:
    """The meter as it stands, over all time or since a moment."""

    fetched: Fetched
    before_order: int  # confirmed: seen before an order
    spared: tuple[Spared, ...]  # confirmed
    estimate: tuple[int, int]  # what the published rates would make of all that was fetched

    @property
    def spared_count(self) -> int:
        """Examinations that clinicians said were spared."""
        return sum(one.count for one in self.spared)


class Meter:
    """Writes down what clinicians say, and reads the meter."""

    def __init__(self, *, db: Database, store: ObjectStore, pool: ParserPool, clock: Clock, log: Logger) -> None:
        self._db = db
        self._store = store
        self._pool = pool
        self._clock = clock
        self._log = log

    async def confirm(self, request_id: RequestId, effect: Effect, examination: str, *, by: str) -> None:
        """A clinician says what a completed request changed; what was said before gives way.

        Raises:
            NothingCame: the request has not brought anything. InvalidInput: no such examination.
        """
        spared = effect in SPARED
        if spared and examination not in TYPICAL_DOSES:
            raise InvalidInput("examination")
        async with self._db.read() as rx:
            transfer = await transfers.get(rx, request_id)
        if transfer is None or transfer.state is not TransferState.COMPLETED:
            raise NothingCame
        dose = await self._dose(transfer.studies) if spared else None
        said = Confirmation(
            request_id,
            effect,
            examination if spared else "",
            dose.name if dose else "",
            dose.value if dose else 0.0,
            dose.unit if dose else "",
            by,
            self._clock.now(),
        )
        async with self._db.write() as tx:
            await rows.confirm(tx, said)
            await self._record(tx, transfer, said.confirmed_at, by, effect.value)

    async def take_back(self, request_id: RequestId, *, by: str) -> None:
        """It changed nothing after all."""
        async with self._db.write() as tx:
            transfer = await transfers.get(tx, request_id)
            if await rows.take_back(tx, request_id) and transfer is not None:
                await self._record(tx, transfer, self._clock.now(), by, "taken back")

    async def said_of(self, request_id: RequestId) -> Confirmation | None:
        """What was said of a request."""
        async with self._db.read() as rx:
            return await rows.said_of(rx, request_id)

    async def read(self, since: int = 0) -> Reading:
        """The meter from ``since`` on (seconds since the epoch)."""
        async with self._db.read() as rx:
            fetched = await rows.fetched(rx, since)
            said = await rows.confirmations(rx, since)
        before = sum(one.effect is not Effect.CANCELLED for one in said)
        return Reading(fetched, before, _spared(said), _estimate(fetched))

    async def _dose(self, studies: Sequence[StudyInstanceUID]) -> ReportedDose | None:
        """The dose by the first report that states one; a report that cannot be read is as good as none."""
        wanted = InstanceQuery(
            studies=StudyQuery(study_uids=tuple(studies)),
            sop_class_uids=tuple(SOPClassUID(uid) for uid in DOSE_REPORTS),
            limit=_MAX_REPORTS,
        )
        for instance in await self._store.instances(wanted) if studies else ():
            header = instance.header
            try:
                reader = await self._store.reader(header.sop_instance_uid)
                tree = await self._pool.to_json(reader, header.transfer_syntax_uid, bulk_data_uri=_LINK)
                dose = read_dose(msgspec.json.decode(tree, type=Tree))
            except LeveretError as error:
                self._log.info("dose report not read", code=error.code)
                continue
            if dose is not None:
                return dose
        return None

    async def _record(self, tx: Write, transfer: Transfer, at: int, by: str, effect: str) -> None:
        event = AuditEvent(
            AuditType.REPEAT_SPARED, at, by, peer=transfer.peer, request=transfer.request_id, detail={"effect": effect}
        )
        await audit.append(tx, event)


def _spared(said: Sequence[Confirmation]) -> tuple[Spared, ...]:
    spared = [one for one in said if one.effect in SPARED and one.examination in TYPICAL_DOSES]
    counts = Counter(one.examination for one in spared)
    cancelled = Counter(one.examination for one in spared if one.effect is Effect.CANCELLED)
    reported: dict[str, list[ReportedDose]] = {}
    for one in spared:
        if one.dose_name:
            reported.setdefault(one.examination, []).append(ReportedDose(one.dose_name, one.dose_value, one.dose_unit))
    return tuple(
        Spared(TYPICAL_DOSES[key], count, cancelled[key], tuple(reported.get(key, ())))
        for key, count in counts.most_common()
    )


def _estimate(fetched: Fetched) -> tuple[int, int]:
    return fetched.requests * LEAST_SPARED // 100, round(fetched.requests * MOST_SPARED / 100)
