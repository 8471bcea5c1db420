"""The Storage SCP before real programs: dcmtk, pynetdicom, Orthanc. What arrives is what was sent, byte for byte."""

import asyncio
import io
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless
from pynetdicom import AE, build_role
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation, UserIdentityNegotiation
from support.ct import CtStudy, dataset_of
from support.large import write_large
from support.peers import NODELAY, orthanc, storescp

from node.dicom.scp import ReceivedInstance, ScpSettings, StorageScp
from node.errors.dicom import InvalidHeader
from node.log import make_logger

pytestmark = [pytest.mark.peers]
PRIVATE_CLASS = "1.3.46.670589.2.5.1.1"
UNKNOWN_SYNTAX = "1.3.6.1.4.1.9590.1"


class Sink:
    """Keeps data sets by SOP Instance UID."""

    def __init__(self) -> None:
        self.got: dict[str, ReceivedInstance] = {}
        self.data: dict[str, bytes] = {}
        self.refuse = False
        self.streamed = 0

    async def store(self, received: ReceivedInstance) -> None:
        if self.refuse:
            raise InvalidHeader
        self.got[received.sop_instance_uid] = received
        self.data[received.sop_instance_uid] = bytes(received.dataset)

    async def store_stream(self, received: ReceivedInstance, rest: AsyncIterator[bytes]) -> None:
        self.streamed += 1
        got = bytearray(received.dataset)
        async for piece in rest:
            got += piece
        self.got[received.sop_instance_uid] = received
        self.data[received.sop_instance_uid] = bytes(got)


@asynccontextmanager
async def scp(**settings: object) -> AsyncIterator[tuple[int, Sink]]:
    sink = Sink()
    wanted = ScpSettings("127.0.0.1", 0, **settings)  # type: ignore[arg-type]
    async with StorageScp(wanted, sink, make_logger(io.StringIO())) as listener:
        yield listener.address[1], sink


async def run(*command: str | Path, status: int = 0) -> str:
    process = await asyncio.create_subprocess_exec(
        *map(str, command), env=NODELAY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(60):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == status, out.decode()
    return out.decode()


def expected(folder: Path) -> dict[str, bytes]:
    files = [path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix == ".dcm"]
    return {str(_header(data).SOPInstanceUID): dataset_of(data) for data in files}


def _header(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, force=True)


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ct")
    CtStudy(instances=4, seed=9).write(folder)
    return folder


async def test_echoscu() -> None:
    async with scp() as (port, _):
        await run("echoscu", "--repeat", "3", "127.0.0.1", str(port))
        await run("echoscu", "--abort", "127.0.0.1", str(port))
        await run("echoscu", "--propose-ts", "30", "--propose-pc", "100", "127.0.0.1", str(port))


@pytest.mark.parametrize("max_pdu", [4096, 5000, 16384, 131072])
async def test_storescu_with_pdus_of_many_lengths(max_pdu: int, ct: Path) -> None:
    async with scp() as (port, sink):
        sizes = ("--max-send-pdu", str(max_pdu), "--max-pdu", str(max_pdu))
        await run("storescu", "--scan-directories", *sizes, "127.0.0.1", str(port), ct)
        assert sink.data == expected(ct)


@pytest.mark.parametrize(
    "name", ["JPEG2000.dcm", "MR_small_RLE.dcm", "image_dfl.dcm", "MR_small.dcm", "MR_small_bigendian.dcm"]
)
async def test_dcmsend_is_received_as_storescp_receives_it(name: str, tmp_path: Path) -> None:
    # dcmsend writes sequences with lengths of its own, so not the file but another receiver tells what was sent.
    path = Path(pydicom.__file__).parent / "data" / "test_files" / name
    with storescp(tmp_path / "theirs", "--bit-preserving", "--accept-all") as theirs:
        await run("dcmsend", "--decompress-never", "127.0.0.1", str(theirs), path)
    (kept,) = _contents(tmp_path / "theirs")
    async with scp() as (port, sink):
        await run("dcmsend", "--decompress-never", "127.0.0.1", str(port), path)
        assert list(sink.data.values()) == [dataset_of(kept)]
        (got,) = sink.got.values()
        assert got.transfer_syntax == str(_header(kept).file_meta.TransferSyntaxUID)


def _contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.iterdir())]


async def test_several_storescu_at_once(ct: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    CtStudy(instances=3, seed=10, smooth=True).write(other)
    async with scp() as (port, sink):
        command = ("storescu", "--scan-directories", "127.0.0.1", str(port))
        await asyncio.gather(*(run(*command, folder) for folder in (ct, other, ct, other)))
        assert sink.data == expected(ct) | expected(other)


async def test_a_refusal_is_told(ct: Path) -> None:
    async with scp() as (port, sink):
        sink.refuse = True
        out = await run("storescu", "--verbose", "127.0.0.1", str(port), ct / "00001.dcm", status=0xC0)
        assert "0xc000" in out.lower() or "CannotUnderstand" in out


async def test_beyond_the_cap_storescu_is_told(ct: Path) -> None:
    async with scp(max_associations=0) as (port, _):
        out = await run("storescu", "127.0.0.1", str(port), ct / "00001.dcm", status=1)
        assert "Local Limit Exceeded" in out


def _send(port: int, instances: Iterable[pydicom.Dataset], **options: object) -> list[int]:
    """Send by pynetdicom over one association; returns the statuses."""
    instances = list(instances)
    ae = AE(ae_title="PYNETDICOM")
    ae.maximum_pdu_size = int(str(options.pop("max_pdu", 16382)))
    for one in instances:
        ae.add_requested_context(one.SOPClassUID, one.file_meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", port, **options)
    assert association.is_established, association.acceptor.primitive
    statuses = [association.send_c_store(one).Status for one in instances]
    association.release()
    assert association.is_released
    return statuses


@pytest.mark.parametrize("max_pdu", [0, 128, 16382, 1 << 20])
async def test_pynetdicom_with_every_negotiation(max_pdu: int, ct: Path) -> None:
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 5, 5
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.primary_field, identity.positive_response_requested = 1, b"somebody", True
    files = [ct / f"{number:05}.dcm" for number in range(1, 5)]
    role = build_role(pydicom.dcmread(files[0]).SOPClassUID, scu_role=True, scp_role=True)
    async with scp() as (port, sink):
        sets = [pydicom.dcmread(path) for path in files]
        items = [window, identity, role]
        assert await asyncio.to_thread(_send, port, sets, ext_neg=items, max_pdu=max_pdu) == [0] * len(files)
        assert sink.data.keys() == expected(ct).keys()
        assert {one.calling_ae for one in sink.got.values()} == {"PYNETDICOM"}


async def test_a_private_class_and_an_unknown_syntax() -> None:
    def associate(port: int) -> list[tuple[str, str]]:
        ae = AE()
        ae.add_requested_context(PRIVATE_CLASS, [UNKNOWN_SYNTAX, JPEG2000Lossless])
        association = ae.associate("127.0.0.1", port)
        accepted = [(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in association.accepted_contexts]
        association.release()
        return accepted

    async with scp() as (port, _):
        assert await asyncio.to_thread(associate, port) == [(PRIVATE_CLASS, UNKNOWN_SYNTAX)]


async def test_orthanc_as_sender(ct: Path, tmp_path: Path) -> None:
    async with scp() as (port, sink):
        await asyncio.to_thread(_by_orthanc, port, ct, tmp_path)
        assert sink.data.keys() == expected(ct).keys()
        for uid, dataset in expected(ct).items():
            assert sink.data[uid] == dataset


def _by_orthanc(port: int, folder: Path, tmp_path: Path) -> None:
    with orthanc(tmp_path, "sender", DicomModalities={"leveret": ["LEVERET", "127.0.0.1", port]}) as peer:
        ids = [peer.rest("POST", "/instances", path.read_bytes())["ID"] for path in sorted(folder.iterdir())]
        peer.rest("POST", "/modalities/leveret/echo", {})
        done = peer.rest("POST", "/modalities/leveret/store", {"Resources": ids, "Synchronous": True})
        assert done["FailedInstancesCount"] == 0


async def test_a_data_set_beyond_the_spool_limit_from_storescu(tmp_path: Path) -> None:
    _, sent = await asyncio.to_thread(write_large, tmp_path, 11)
    async with scp() as (port, sink):
        await run("storescu", "127.0.0.1", str(port), tmp_path / "00001.dcm")
        assert list(sink.data.values()) == [sent]
        assert sink.streamed == 1
