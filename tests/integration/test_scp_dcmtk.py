"""The Storage SCP against real callers: dcmtk's, and pynetdicom where dcmtk will not misbehave."""

import asyncio
import contextlib
import io
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID
from pynetdicom import AE
from structlog.testing import capture_logs
from support.ct import CtStudy, dataset_of
from support.datasets import BIG, EXPLICIT, IMPLICIT, file_of
from support.peers import NODELAY
from support.zoo import zoo

from node.dicom import scp as scp_module
from node.dicom.pool import ParserPool
from node.dicom.scp import ReceivedInstance, ScpSettings, StorageScp
from node.errors import LeveretError
from node.errors.dicom import HeaderRefused, InstanceMismatch, InvalidHeader, Truncated
from node.errors.setup import PortInUse
from node.errors.storage import DiskFull, IndexUnreadable
from node.log import make_logger

LOG = make_logger(level="ERROR")
UNCOMPRESSED = {str(EXPLICIT), str(IMPLICIT), str(BIG)}


class Sink:
    """Keeps what it is given; does as told."""

    def __init__(self) -> None:
        self.received: dict[str, tuple[bytes, ReceivedInstance]] = {}
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()

    async def store(self, received: ReceivedInstance) -> None:
        self.entered.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.received[received.sop_instance_uid] = (bytes(received.dataset), received)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@contextlib.asynccontextmanager
async def serving(sink: Sink, **settings: object) -> AsyncIterator[tuple[str, int]]:
    chosen = ScpSettings(**{"host": "127.0.0.1", "port": 0, **settings})  # type: ignore[arg-type]
    async with StorageScp(chosen, sink, LOG) as scp:
        yield scp.address


async def call(program: str, *arguments: str | Path) -> tuple[int, str]:
    """Run one of dcmtk's programs; returns its exit status and what it said."""
    process = await asyncio.create_subprocess_exec(
        program, *map(str, arguments), env=NODELAY, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, output.decode()


@pytest.mark.peers
async def test_echo(sink: Sink) -> None:
    async with serving(sink) as (host, port):
        for title in ("LEVERET", "ANY-SCP"):
            status, said = await call("echoscu", "--aetitle", "MODALITY", "--call", title, host, str(port))
            assert status == 0, said
        status, said = await call("echoscu", "--aetitle", "MODALITY", "--call", "SOMETHING_ELSE", host, str(port))
        assert status != 0
        assert "Called AE Title Not Recognized" in said
    async with serving(sink, any_called_ae=True) as (host, port):
        status, said = await call("echoscu", "--aetitle", "MODALITY", "--call", "SOMETHING_ELSE", host, str(port))
        assert status == 0, said


@pytest.mark.peers
@pytest.mark.parametrize("options", [(), ("--max-pdu", "4096"), ("--max-pdu", "131072"), ("--propose-implicit",)])
async def test_storescu_leaves_every_byte_as_it_was(sink: Sink, tmp_path: Path, options: tuple[str, ...]) -> None:
    study = CtStudy(instances=5, rows=64)
    paths = study.write(tmp_path)
    async with serving(sink) as (host, port):
        status, said = await call(
            "storescu", "--aetitle", "CT1", "--scan-directories", *options, host, str(port), tmp_path
        )
    assert status == 0, said
    assert len(sink.received) == 5
    for number, path in enumerate(paths, 1):
        data, received = sink.received[study.sop_uid(number)]
        assert (received.calling_ae, received.address) == ("CT1", "127.0.0.1")
        if "--propose-implicit" not in options:
            assert received.transfer_syntax == EXPLICIT
            assert data == dataset_of(path.read_bytes())
        else:
            assert received.transfer_syntax == "1.2.840.10008.1.2"


@pytest.mark.peers
async def test_dcmsend_brings_every_syntax_as_it_is(sink: Sink) -> None:
    names = (
        "JPEG2000.dcm", "MR_small_RLE.dcm", "JPEG-LL.dcm", "image_dfl.dcm", "ExplVR_BigEnd.dcm",
        "SC_rgb_jpeg_dcmtk.dcm", "reportsi.dcm", "rtplan.dcm", "brain_001.dcm",
    )  # fmt: skip
    files = [path for path in zoo() if path.name in names]
    assert len(files) >= len(names)
    async with serving(sink) as (host, port):
        status, said = await call("dcmsend", "--decompress-never", "--no-uid-checks", host, str(port), *files)
    assert status == 0, said
    for path in files:
        told = dcmread(path)
        data, received = sink.received[str(told.SOPInstanceUID)]
        syntax = str(told.file_meta.TransferSyntaxUID)
        if syntax in UNCOMPRESSED:  # the sender's choice is explicit little endian
            assert str(received.transfer_syntax) in UNCOMPRESSED, path.name
            continue
        assert str(received.transfer_syntax) == syntax, path.name
        assert dcmread(io.BytesIO(file_of(data, received.transfer_syntax))).PixelData == told.PixelData, path.name


@pytest.mark.peers
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DiskFull(), "0xa700"), (InstanceMismatch(), "0xa900"), (Truncated(), "0xc000"), (InvalidHeader(), "0xc000"),
        (HeaderRefused(), "0xc000"), (IndexUnreadable(), "0x0110"), (ZeroDivisionError(), "0x0110"),
    ],
)  # fmt: skip
async def test_a_refusal_reaches_the_sender(sink: Sink, tmp_path: Path, error: Exception, status: str) -> None:
    (path,) = CtStudy(instances=1, rows=16).write(tmp_path)
    sink.error = error
    with capture_logs():
        async with serving(sink) as (host, port):
            _, said = await call("storescu", "--verbose", "--debug", host, str(port), path)
            sink.error = None
            again, _ = await call("storescu", host, str(port), path)
    assert status in said.lower(), said[-2000:]
    if isinstance(error, LeveretError):
        assert error.code in said
    assert again == 0


@pytest.mark.peers
async def test_what_dcmtk_sends_is_what_the_parser_reads(sink: Sink, tmp_path: Path) -> None:
    study = CtStudy(instances=2, rows=16)
    study.write(tmp_path)
    async with serving(sink) as (host, port), ParserPool(1) as pool:
        await call("storescu", "--scan-directories", host, str(port), tmp_path)
        for uid, (data, received) in sink.received.items():
            header = await pool.parse_header(data, received.transfer_syntax)
            assert (header.sop_instance_uid, header.sop_class_uid) == (uid, received.sop_class_uid)
            assert header.study_instance_uid == study.study_uid


def send(address: tuple[str, int], *, sop_class: str, syntax: str, title: str = "PRIVATE") -> int | None:
    """C-STORE by pynetdicom of an instance that dcmtk would not send; returns the status, None where none came."""
    ae = AE(ae_title=title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    ae.add_requested_context(sop_class, syntax)
    association = ae.associate(*address, ae_title="LEVERET")
    if not association.is_established:
        return None
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, "1.2.3.4"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    status = association.send_c_store(dataset)
    association.release()
    return int(status.Status) if "Status" in status else None


@pytest.mark.parametrize("sop_class", ["1.2.3.4.5.6", "1.2.840.10008.5.1.4.1.1.9999", "1.2.840.10008.5.1.1.30"])
async def test_private_future_and_retired_classes_are_stored(sink: Sink, sop_class: str) -> None:
    async with serving(sink) as address:
        assert await asyncio.to_thread(send, address, sop_class=sop_class, syntax=EXPLICIT) == 0
    assert sink.received["1.2.3.4"][1].sop_class_uid == sop_class


async def test_other_services_are_not_accepted(sink: Sink) -> None:
    async with serving(sink) as address:
        status = await asyncio.to_thread(send, address, sop_class="1.2.840.10008.5.1.4.1.2.2.1", syntax=EXPLICIT)
    assert status is None
    assert sink.received == {}


async def test_from_elsewhere_only_listed_titles_may_call(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scp_module, "is_loopback", lambda _: False)
    async with serving(sink, allow_ae=("CT1",)) as address:
        for title, status in (("CT1", 0), ("CT2", None)):
            told = await asyncio.to_thread(send, address, sop_class="1.2.3.4.5", syntax=EXPLICIT, title=title)
            assert told == status


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("::ffff:127.0.0.1", True), ("10.0.0.1", False),
     ("::ffff:10.0.0.1", False), ("fe80::1%eth0", False)],
)  # fmt: skip
def test_what_is_loopback(address: str, loopback: bool) -> None:  # noqa: FBT001
    assert scp_module.is_loopback(address) is loopback


@pytest.mark.peers
async def test_associations_beyond_the_limit_are_told_so(sink: Sink, tmp_path: Path) -> None:
    (path,) = CtStudy(instances=1, rows=16).write(tmp_path)
    sink.gate.clear()
    async with serving(sink, max_associations=1) as (host, port):
        first = asyncio.ensure_future(call("storescu", host, str(port), path))
        await sink.entered.wait()
        status, said = await call("echoscu", host, str(port))
        assert status != 0
        assert "local limit" in said.lower()
        sink.gate.set()
        assert (await first)[0] == 0
        for _ in range(50):  # the first one's end is seen a moment after it has been told
            if (await call("echoscu", host, str(port)))[0] == 0:
                return
    pytest.fail("the place is never free again")


@pytest.mark.peers
async def test_stopping_lets_what_is_being_stored_be_answered(sink: Sink, tmp_path: Path) -> None:
    (path,) = CtStudy(instances=1, rows=16).write(tmp_path)
    sink.gate.clear()
    async with serving(sink) as (host, port):
        sending = asyncio.ensure_future(call("storescu", "--verbose", host, str(port), path))
        await sink.entered.wait()
        asyncio.get_running_loop().call_later(0.3, sink.gate.set)
    assert len(sink.received) == 1
    _, said = await sending
    assert "Received Store Response (Success)" in said
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port), 1).close()


async def test_stopping_ends_idle_associations(sink: Sink) -> None:
    async with serving(sink) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
    assert len(await reader.read()) <= 10  # nothing, or an A-ABORT
    writer.close()


@pytest.mark.parametrize(
    "junk", [b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00\xff\xff\xff\xff", b"\x04\x00\x00\x00\x00\x01x", b"\0"]
)
async def test_junk_ends_one_connection_only(sink: Sink, junk: bytes) -> None:
    async with serving(sink, network_timeout=1.0) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(junk)
        await asyncio.wait_for(reader.read(), 30)
        writer.close()
        assert await asyncio.to_thread(send, (host, port), sop_class="1.2.3.4.5", syntax=EXPLICIT) == 0


async def test_a_port_that_is_taken_is_said_so(sink: Sink) -> None:
    async with serving(sink) as (host, port):
        with pytest.raises(PortInUse):
            async with serving(sink, host=host, port=port):
                pass
