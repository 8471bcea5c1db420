"""Every DICOM file there is to test with, through STOW-RS and WADO-RS of real nodes; names in every character set."""

import contextlib
import io
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pydicom
import pytest
import pytest_asyncio
from aiohttp import ClientSession
from support.datasets import EXPLICIT, element, file_of, identity
from support.running import running
from support.zoo import zoo

from node.dicom.part10 import read_part10
from node.errors.dicom import DicomRefused

pytestmark = pytest.mark.asyncio(loop_scope="module")
DUPLICATE = 0x0111  # PS3.7 C.5.7
MAX_NODES = 20

CHARACTER_SETS = {  # those that are whole instances
    path.stem: path for path in zoo() if path.match("charset_files/chr*.dcm") and "chrSQ" not in path.stem
}


class Nodes:
    """As many nodes as it takes for files that share a SOP Instance UID: one may hold one of them."""

    def __init__(self, folder: Path, stack: contextlib.AsyncExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._http: list[ClientSession] = []
        self._held: Counter[str] = Counter()

    async def node(self, number: int) -> ClientSession:
        assert number < MAX_NODES
        while len(self._http) <= number:
            node = await self._stack.enter_async_context(running(self._folder / f"n{len(self._http)}"))
            headers = {"Authorization": f"Bearer {await node.token('clinician')}"}
            self._http.append(await self._stack.enter_async_context(ClientSession(node.api, headers=headers)))
        return self._http[number]

    async def store(self, data: bytes) -> tuple[ClientSession, int, Any]:
        """By STOW-RS to a node that has no other instance of that name."""
        try:
            name = read_part10(data).media_sop_instance_uid
        except DicomRefused:
            name = ""
        self._held[name] += 1 if name else 0
        for number in range(max(0, self._held[name] - 1), MAX_NODES):
            http = await self.node(number)
            kind = {"Content-Type": "application/dicom"}
            async with http.post("/dicom-web/studies", data=io.BytesIO(data), headers=kind) as answer:
                body = await answer.json(content_type=None)
            failed = body.get("00081198", {}).get("Value", [])
            if not any(one["00081197"]["Value"] == [DUPLICATE] for one in failed):
                return http, answer.status, body
        raise AssertionError("too many of the same name")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Nodes]:
    async with contextlib.AsyncExitStack() as stack:
        yield Nodes(tmp_path_factory.mktemp("zoo"), stack)


async def retrieve(http: ClientSession, url: str) -> bytes:
    headers = {"Accept": "application/dicom; transfer-syntax=*"}
    async with http.get(url[url.index("/dicom-web") :], headers=headers) as answer:
        assert answer.status == 200
        return await answer.read()


async def test_every_file_comes_back_byte_for_byte_or_is_refused(nodes: Nodes) -> None:
    stored = 0
    for path in zoo():
        data = path.read_bytes()  # nothing else runs
        http, status, body = await nodes.store(data)
        if status != 200:
            assert status in {400, 409}, (path.name, body)
            reasons = [
                one["00081197"]["Value"]
                for tag in ("00081198", "0008119A")
                for one in body.get(tag, {}).get("Value", [])
            ]
            assert reasons == [[0xC000]] or (not data and status == 400), (path.name, body)
            continue
        back = await retrieve(http, body["00081199"]["Value"][0]["00081190"]["Value"][0])
        assert back[read_part10(back).dataset_offset :] == data[read_part10(data).dataset_offset :], path.name
        stored += 1
    assert stored > 240


@pytest.mark.parametrize("name", sorted(CHARACTER_SETS))
async def test_names_in_every_character_set(nodes: Nodes, name: str) -> None:
    """Found by the name in UTF-8, as a whole and by a part of it, and shown as pydicom reads it."""
    data = CHARACTER_SETS[name].read_bytes()  # nothing else runs
    held = pydicom.dcmread(io.BytesIO(data))
    held.decode()
    groups = [part for part in str(held.PatientName).split("=") if part]
    http, status, body = await nodes.store(data)
    assert status == 200
    url = body["00081199"]["Value"][0]["00081190"]["Value"][0]
    for wanted in (str(held.PatientName), f"*{groups[-1]}*", groups[0]):
        found = await get(http, f"/dicom-web/studies?PatientName={quote(wanted)}&PatientID={quote(held.PatientID)}")
        assert [one["0020000D"]["Value"][0] for one in found] == [held.StudyInstanceUID], wanted
        assert "=".join(found[0]["00100010"]["Value"][0].values()) == "=".join(groups)
    (metadata,) = await get(http, f"{url[url.index('/dicom-web') :]}/metadata")
    assert metadata["00080005"]["Value"] == ["ISO_IR 192"]
    metadata.pop("7FE00010", None)
    shown = pydicom.Dataset.from_json(metadata)
    assert shown.PatientName == held.PatientName
    assert texts(shown) == texts(held)


def texts(dataset: pydicom.Dataset) -> list[str]:
    """Every name and description, those in sequences too."""
    wanted = {"PN", "LO", "SH", "ST", "LT", "UT"}
    return sorted(str(one.value) for one in dataset.iterall() if one.VR in wanted and one.value and not one.is_private)


async def get(http: ClientSession, path: str) -> Any:
    async with http.get(path, headers={"Accept": "application/dicom+json"}) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json(content_type=None)


@pytest.mark.parametrize(
    ("label", "raw", "name"),
    [
        ("GB18030", "王^小東".encode("gb18030"), "王^小東"),
        ("GBK", "王^小东".encode("gbk"), "王^小东"),
        ("ISO_IR 100", "Müller^Änne".encode(), "Müller^Änne"),  # UTF-8 under a wrong label is still what it can be
        ("", "Иванов^Иван".encode(), "Иванов^Иван"),
        ("ISO_IR 192", "Müller".encode("latin-1"), "Müller"),
        ("ISO_IR 144", "Иванов^Иван".encode("iso8859_5"), "Иванов^Иван"),
        ("ISO_IR 126", "Διονυσιος".encode("iso8859_7"), "Διονυσιος"),
        ("ISO_IR 127", "قباني^لنزار".encode("iso8859_6"), "قباني^لنزار"),
        ("ISO_IR 138", "שרון^דבורה".encode("iso8859_8"), "שרון^דבורה"),
        ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ".encode("shift_jis"), "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        ("\\ISO 2022 IR 149", b"Hong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "Hong=洪^吉洞"),
        ("\\ISO 2022 IR 87", b"Yamada=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Yamada=山田^太郎"),
    ],
)
async def test_labels_that_lie_and_labels_that_do_not(nodes: Nodes, label: str, raw: bytes, name: str) -> None:
    uid = f"1.2.826.0.1.3680043.10.543.88.{abs(hash((label, raw))) % 10**9}"
    plain = identity(uid, uid, f"{uid}.1").replace(
        element(0x00100010, "PN", "Doe^Jane"), element(0x00100010, "PN", raw)
    )
    http, status, _ = await nodes.store(file_of(element(0x00080005, "CS", label) + plain, EXPLICIT))
    assert status == 200
    (one,) = await get(http, f"/dicom-web/studies?PatientName={quote(name)}&StudyInstanceUID={uid}")
    assert "=".join(one["00100010"]["Value"][0].values()) == name
    assert await get(http, f"/dicom-web/studies?PatientName={quote(name[:2])}*&StudyInstanceUID={uid}")
