"""Bad files by the thousand through a running daemon: each is kept as it is or refused with a reason; nothing hangs.

``LEVERET_TEST_MUTANTS`` sets how many; the number of a file that breaks something makes it again (``support.mutator``).
"""

import asyncio
import json
import os
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest
from support.dicom_peer import CT, EXPLICIT, Peer, associate_rq, store_rq
from support.dicom_peer import data as pdata
from support.facility import Facility
from support.mutator import mutant, seeds

from node.dicom.part10 import split_part10
from node.dicom.upper_layer.codes import PduType
from node.errors.base import LeveretError

pytestmark = pytest.mark.peers
IN_SUITE, IN_SOAK = 500, 20_000
MOST_MEMORY = 600_000_000  # bytes of the daemon, its parsers and renderers apart
BATCH = 50
ANSWER_SECONDS = 120

MakeFacility = Callable[..., Facility]


def daemon_memory(node: Facility) -> int:
    """Resident bytes of the daemon itself at most, so far (VmHWM)."""
    assert node.process is not None
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@dataclass
class Hunt:
    """One daemon and the bad files that it is given."""

    node: Facility
    folder: Path
    token: str
    outcomes: Counter[str] = field(default_factory=Counter)

    def import_files(self, batch: dict[int, bytes]) -> None:
        self.folder.mkdir(exist_ok=True)
        for number, data in batch.items():
            (self.folder / f"{number:06}.dcm").write_bytes(data)
        done = self.node.call("import", str(self.folder), "--json")
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        refused = [line for line in done.stderr.splitlines() if "[" in line]
        assert "internal_error" not in done.stderr, done.stderr
        assert len(refused) >= result["refused"], "each with a reason"
        self.outcomes.update({f"import {name}": result[name] for name in ("stored", "same", "quarantined", "refused")})
        for path in self.folder.iterdir():
            path.unlink()

    def stow(self, batch: dict[int, bytes]) -> None:
        for number, data in batch.items():
            body = b"--BoUnDaRy\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n--BoUnDaRy--\r\n"
            kind = 'multipart/related; type="application/dicom"; boundary=BoUnDaRy'
            status, answer = self.http("/dicom-web/studies", "application/dicom+json", body, kind)
            assert status in {200, 202, 400, 409, 413, 415}, (number, status, answer[:500])
            self.outcomes[f"stow {status}"] += 1

    async def c_store(self, batch: dict[int, bytes]) -> None:
        address = self.node.listen("dicom")
        for number, data in batch.items():
            sop_class, uid, syntax, dataset = identity_of(data)
            async with Peer.connect(address) as peer:
                await peer.send(associate_rq((sop_class, syntax)))
                kind, _ = await peer.receive()
                if kind != PduType.ASSOCIATE_AC:
                    self.outcomes["c-store no association"] += 1
                    continue
                await peer.send(store_rq(uid, sop_class=sop_class) + pdata(dataset))
                try:
                    kind, _ = await peer.receive()
                except (asyncio.IncompleteReadError, ConnectionResetError):
                    kind = 0
                assert kind in {0, PduType.P_DATA_TF, PduType.ABORT}, number
                self.outcomes[f"c-store answered {kind}"] += 1

    def http(self, path: str, accept: str, body: bytes | None = None, kind: str = "") -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self.token}", "Accept": accept}
        if body is not None:
            headers["Content-Type"] = kind
        request = urllib.request.Request(self.api + path, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read()

    @cached_property
    def api(self) -> str:
        return self.node.api

    def read_back(self, most: int) -> None:
        """What was kept is given out, byte for byte what some file held, and shown or refused with a reason."""
        for study in self.node.run("studies")["studies"][:most]:
            base = f"/dicom-web/studies/{study['study_instance_uid']}"
            status, body = self.http(f"{base}/metadata", "application/dicom+json")
            assert status in {200, 400, 410}, (status, body[:300])
            self.outcomes[f"metadata {status}"] += 1
            for instance in (json.loads(body) if status == 200 else [])[:2]:
                uid, series = (instance[tag]["Value"][0] for tag in ("00080018", "0020000E"))
                status, body = self.http(f"{base}/series/{series}/instances/{uid}/rendered", "image/jpeg")
                assert status in {200, 400, 404, 406, 409, 410, 413, 415, 422}, (status, body[:300])
                self.outcomes[f"rendered {status}"] += 1


def identity_of(data: bytes) -> tuple[str, str, str, bytes]:
    """What a sender would say a file is, and its data set; guesses where nobody can tell."""
    try:
        part = split_part10(data)
        dataset, syntax = data[part.dataset_offset :], str(part.transfer_syntax)
    except LeveretError:
        dataset, syntax = data[132:], EXPLICIT
    return (
        _text(dataset, b"\x08\x00\x16\x00UI") or CT,
        _text(dataset, b"\x08\x00\x18\x00UI") or "1.2.3",
        syntax,
        dataset,
    )


def _text(dataset: bytes, element: bytes) -> str:
    at = dataset.find(element)
    length = int.from_bytes(dataset[at + 6 : at + 8], "little")
    text = dataset[at + 8 : at + 8 + min(length, 64)].rstrip(b"\0 ") if at >= 0 else b""
    return text.decode() if text and all(c in b"0123456789." for c in text) else ""


async def hunt(facility: MakeFacility, tmp_path: Path, count: int) -> None:
    node = facility("node")
    assert node.process is not None
    pid = node.process.pid
    hunted, good = Hunt(node, tmp_path / "batch", node.token()), seeds()
    for first in range(0, count, 3 * BATCH):
        batches = [range(first + k * BATCH, min(count, first + (k + 1) * BATCH)) for k in range(3)]
        files = [{number: mutant(number, good) for number in batch} for batch in batches]
        await asyncio.to_thread(hunted.import_files, files[0])
        await asyncio.to_thread(hunted.stow, files[1])
        await hunted.c_store(files[2])
        assert node.process.poll() is None, "the daemon lives"
        assert daemon_memory(node) < MOST_MEMORY
    await asyncio.to_thread(hunted.read_back, count // 5)
    assert (node.process.pid, node.process.poll()) == (pid, None)
    assert daemon_memory(node) < MOST_MEMORY, hunted.outcomes
    log = node.log_file.read_text()
    assert '"level": "critical"' not in log
    assert '"status": 500' not in log, [line for line in log.splitlines() if '"status": 500' in line][:5]
    assert sum(n for name, n in hunted.outcomes.items() if not name.startswith(("rendered", "metadata"))) >= count, (
        hunted.outcomes
    )
    assert hunted.outcomes["import stored"], hunted.outcomes
    assert hunted.outcomes["import refused"], hunted.outcomes
    print(dict(hunted.outcomes), daemon_memory(node))


@pytest.mark.timeout(300)
async def test_five_hundred_bad_files(facility: MakeFacility, tmp_path: Path) -> None:
    await hunt(facility, tmp_path, int(os.environ.get("LEVERET_TEST_MUTANTS", IN_SUITE)))


@pytest.mark.soak
@pytest.mark.timeout(7200)
async def test_twenty_thousand_bad_files(facility: MakeFacility, tmp_path: Path) -> None:
    await hunt(facility, tmp_path, IN_SOAK)


async def test_what_is_kept_of_bad_files_is_kept_byte_for_byte(facility: MakeFacility, tmp_path: Path) -> None:
    """Each file on its own: its data set comes back as it was, or the file was refused."""
    node = facility("node")
    hunted, good = Hunt(node, tmp_path / "batch", node.token()), seeds()
    sent = set()
    for number in range(BATCH):
        data = mutant(number, good)
        try:
            sent.add(bytes(memoryview(data)[split_part10(data).dataset_offset :]))
        except LeveretError:
            continue
    await asyncio.to_thread(hunted.import_files, {number: mutant(number, good) for number in range(BATCH)})
    studies = (await asyncio.to_thread(node.run, "studies"))["studies"]
    assert studies
    for study in studies:
        for file in await asyncio.to_thread(node.retrieve, study["study_instance_uid"], hunted.token):
            assert bytes(memoryview(file)[split_part10(file).dataset_offset :]) in sent
