"""Storage commitment before pynetdicom as a modality, and Orthanc: what is confirmed, where, and after a restart."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_role, evt
from support.ct import CtStudy
from support.dimse import DimseNode, dimse_node
from support.pacs import foreign
from support.peers import free_port, orthanc

from node.sharing import commitment as module

pytestmark = [
    pytest.mark.peers,
    # pynetdicom drops the socket of an association that was refused or cut; whoever collects it meets the warning
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

COMMITMENT, INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
STUDY = CtStudy(instances=3, rows=16, seed=31)
FOREIGN = CtStudy(instances=1, rows=16, seed=32)
SECONDS = 15.0


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DimseNode]:
    async with dimse_node(tmp_path) as made:
        await made.take(*STUDY.files())
        yield made


@dataclass
class Modality:
    """Hears reports on ``port``; ``statuses`` is what it answers, success when there are none left."""

    port: int
    reports: list[tuple[int, Dataset]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    heard: threading.Event = field(default_factory=threading.Event)
    connections: list[tuple[Any, Any]] = field(default_factory=list)

    def begun(self, event: Any) -> None:
        self.connections.append((event.assoc, event.assoc.dul.socket.socket))

    def hear(self, event: Any) -> tuple[int, None]:
        status = self.statuses.pop(0) if self.statuses else 0
        if status == 0:
            self.reports.append((event.event_type, event.event_information))
            self.heard.set()
        return status, None

    async def report(self) -> tuple[int, Dataset]:
        assert await asyncio.to_thread(self.heard.wait, SECONDS), "no report came"
        self.heard.clear()
        return self.reports[-1]


@contextlib.contextmanager
def modality(port: int = 0) -> Iterator[Modality]:
    made = Modality(port or free_port())
    ae = AE("MODALITY")
    ae.add_supported_context(COMMITMENT, scu_role=False, scp_role=True)
    server = ae.start_server(("127.0.0.1", made.port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, made.hear)])
    assert server is not None
    try:
        yield made
    finally:
        server.shutdown()
        for association, connection in made.connections:  # pynetdicom leaves some to the garbage collector
            association.join(5)
            connection.close()


def wanted(transaction: str, *instances: tuple[str, str]) -> Dataset:
    asked = Dataset()
    asked.TransactionUID = transaction
    asked.ReferencedSOPSequence = []
    for sop_class, uid in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        asked.ReferencedSOPSequence.append(item)
    return asked


def _ask(port: int, asked: Dataset, action: int, instance: str, stay: Modality | None) -> int | None:
    ae = AE("MODALITY")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    ae.add_requested_context(COMMITMENT)
    handlers = [] if stay is None else [(evt.EVT_N_EVENT_REPORT, stay.hear)]
    association = ae.associate(
        "127.0.0.1", port, ae_title="LEVERET", evt_handlers=handlers,
        ext_neg=[build_role(COMMITMENT, scu_role=True, scp_role=False)],
    )  # fmt: skip
    if not association.accepted_contexts:
        association.abort()
        return None
    status, _ = association.send_n_action(asked, action, COMMITMENT, instance)
    if stay is not None:
        stay.heard.wait(SECONDS)
    association.release()
    return int(status.Status)


async def ask(
    node: DimseNode, asked: Dataset, *, action: int = 1, instance: str = INSTANCE, stay: Modality | None = None
) -> int | None:
    return await asyncio.to_thread(_ask, node.port, asked, action, instance, stay)


async def test_kept_instances_are_confirmed_and_others_are_not(node: DimseNode) -> None:
    for data in FOREIGN.files():
        await node.receive(data, foreign())
    with modality() as there:
        await node.know("MODALITY", there.port)
        transaction = str(generate_uid())
        kept = [(CT, STUDY.sop_uid(1)), (CT, STUDY.sop_uid(2))]
        assert await ask(node, wanted(transaction, *kept)) == 0
        kind, report = await there.report()
        assert (kind, report.TransactionUID, report.RetrieveAETitle) == (1, transaction, "LEVERET")
        assert told(report.ReferencedSOPSequence) == kept
        assert "FailedSOPSequence" not in report
        wrong = [(CT, "1.2.3.4"), (MR, STUDY.sop_uid(3)), (CT, FOREIGN.sop_uid(1))]
        assert await ask(node, wanted(str(generate_uid()), *kept, *wrong)) == 0
        kind, report = await there.report()
        assert (kind, told(report.ReferencedSOPSequence), told(report.FailedSOPSequence)) == (2, kept, wrong)
        assert [one.FailureReason for one in report.FailedSOPSequence] == [0x0112, 0x0119, 0x0112]
        await until_reported(node, 2)
    events = await node.events("commitment_reported")
    assert [event["detail"] for event in events] == [
        {"to": "MODALITY", "kept": 2, "failed": 0}, {"to": "MODALITY", "kept": 2, "failed": 3},
    ]  # fmt: skip
    assert transaction not in node.logged.getvalue()


def told(sequence: Any) -> list[tuple[str, str]]:
    return [(str(one.ReferencedSOPClassUID), str(one.ReferencedSOPInstanceUID)) for one in sequence]


async def test_reports_where_they_were_asked_for_if_the_system_is_entered_so(node: DimseNode) -> None:
    nobody = Modality(free_port())
    await node.know("MODALITY", nobody.port, same_association=True)
    assert await ask(node, wanted(str(generate_uid()), (CT, STUDY.sop_uid(1))), stay=nobody) == 0
    assert nobody.reports[0][0] == 1


async def test_a_report_waits_for_a_system_that_is_away_and_outlives_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSES", (0,))
    port, transaction = free_port(), str(generate_uid())
    async with dimse_node(tmp_path) as node:
        await node.take(*STUDY.files())
        await node.know("MODALITY", port)
        assert await ask(node, wanted(transaction, (CT, STUDY.sop_uid(1)))) == 0
        await until(lambda: "dicom_unreachable" in node.logged.getvalue())
    with modality(port) as there:
        there.statuses = [0x0110]
        async with dimse_node(tmp_path):
            assert (await there.report())[1].TransactionUID == transaction
        assert len(there.reports) == 1


async def until_reported(node: DimseNode, count: int) -> None:
    """The report is on record a moment after it was taken."""
    deadline = time.monotonic() + SECONDS
    while len(await node.events("commitment_reported")) < count:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def until(condition: Any) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_what_is_refused(node: DimseNode) -> None:
    one, other = (CT, STUDY.sop_uid(1)), (CT, STUDY.sop_uid(2))
    assert await ask(node, wanted("1.2.3", one)) is None  # a stranger gets no context
    with modality() as there:
        await node.know("MODALITY", there.port)
        assert await ask(node, wanted("1.2.3", one), action=2) == 0x0123
        assert await ask(node, wanted("1.2.3", one), instance="1.2.3.4") == 0x0112
        assert await ask(node, wanted("1.2.3")) == 0x0115
        assert await ask(node, wanted("1.2.3.4.5", one)) == 0
        await there.report()
        assert await ask(node, wanted("1.2.3.4.5", other)) == 0x0131
        assert await ask(node, wanted("1.2.3.4.5", one)) == 0  # the answer may have been lost
        await there.report()


async def test_orthanc_asks_for_commitment(node: DimseNode, tmp_path: Path) -> None:
    modalities = {"leveret": ["LEVERET", "127.0.0.1", node.port]}
    with orthanc(tmp_path, "orthanc", DicomModalities=modalities, DicomAlwaysAllowStore=True) as peer:
        await node.know("ORTHANC", peer.dicom)
        resources = {"DicomInstances": [
            {"SOPClassUID": CT, "SOPInstanceUID": STUDY.sop_uid(1)},
            {"SOPClassUID": CT, "SOPInstanceUID": "1.2.3.4"},
        ]}  # fmt: skip
        job = await asyncio.to_thread(peer.rest, "POST", "/modalities/leveret/storage-commitment", resources)

        def report() -> Any:
            return peer.rest("GET", f"/storage-commitment/{job['ID']}")

        deadline = time.monotonic() + SECONDS
        while (answer := await asyncio.to_thread(report))["Status"] == "Pending":
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
    assert answer["Status"] == "Failure"
    assert [one["SOPInstanceUID"] for one in answer["Success"]] == [STUDY.sop_uid(1)]
    assert [(one["SOPInstanceUID"], one["FailureReason"]) for one in answer["Failures"]] == [("1.2.3.4", 0x0112)]
