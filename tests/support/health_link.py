"""A receiving application for SMART Health Links, written from HL7's specification alone, and a node that has some.

Nothing here comes from the node: payloads are decoded by the words of the specification, files by jwcrypto.
"""

import asyncio
import base64
import io
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pydicom
from aiohttp import ClientSession, TCPConnector, UnixConnector
from jwcrypto.jwe import JWE
from jwcrypto.jwk import JWK
from pydicom.dataset import Dataset

from node.app.keys import open_keys
from node.app.node import Node
from node.log import make_logger
from support.clocks import MovedClock
from support.ct import CtStudy
from support.running import Running, initialised
from support.viewer import dataset_of, pdf

FHIR, ACCESS, JOSE = "application/fhir+json", "application/smart-api-access", "application/jose"
ELSEWHERE = {"Origin": "https://receiver.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
MINE = CtStudy(instances=3, rows=32, seed=1, patient_id="P-1", patient_name="García^Elena", study_date="20240102")
LATER = CtStudy(instances=2, rows=32, seed=2, patient_id="P-1", patient_name="García^Elena", study_date="20250304")
OTHER = CtStudy(instances=2, rows=32, seed=3, patient_id="P-2", patient_name="Other^Olaf")
CONSENT = "said so at the desk"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """One link, as an application of another site opens it."""

    shlink: str
    http: ClientSession = field(repr=False)

    @property
    def payload(self) -> dict[str, Any]:
        """The JSON payload: minified, base64url without padding."""
        prefix, _, encoded = self.shlink.partition("shlink:/")
        assert not prefix or prefix.endswith("#"), "a viewer's address ends with #"
        said: dict[str, Any] = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
        return said

    async def manifest(self, recipient: str = "Dr. Wong", **members: Any) -> Answer:
        """POST to the manifest's address."""
        body = {"recipient": recipient, **members}
        return await ask(self.http, "POST", self.payload["url"], json=body, headers=ELSEWHERE)

    async def content(self, file: dict[str, str]) -> str:
        """The JWE of an entry of the manifest, wherever it is."""
        if "embedded" in file:
            return file["embedded"]
        answer = await ask(self.http, "GET", file["location"], headers=ELSEWHERE)
        assert (answer.status, answer.headers["Content-Type"]) == (200, JOSE)
        return answer.body.decode("ascii")

    def decrypt(self, jwe: str) -> tuple[dict[str, Any], Any]:
        """Header and content of a file."""
        token = JWE()
        token.deserialize(jwe, JWK(kty="oct", k=self.payload["key"]))
        return json.loads(token.objects["protected"]), json.loads(token.payload)

    async def files(self, **members: Any) -> dict[str, Any]:
        """Everything behind the link, by content type."""
        answer = await self.manifest(**members)
        assert answer.status == 200, answer
        found = {}
        for file in answer.json["files"]:
            header, found[file["contentType"]] = self.decrypt(await self.content(file))
            assert (header["alg"], header["enc"], header["cty"]) == ("dir", "A256GCM", file["contentType"])
        return found


@dataclass
class Linking:
    """A node with studies of two patients."""

    node: Running
    http: ClientSession
    clock: MovedClock
    stack: AsyncExitStack
    receivers: int = 0

    async def place(self) -> ClientSession:
        """Somebody at a network address of their own, because openings are limited by address."""
        self.receivers += 1
        address = (f"127.0.1.{self.receivers}", 0)
        return await self.stack.enter_async_context(
            ClientSession(connector=TCPConnector(local_addr=address, family=socket.AF_INET))
        )

    async def make(self, patient_id: str = "P-1", **order: Any) -> tuple[Receiver, dict[str, Any]]:
        """A new link as its recipient has it, and as staff see it."""
        made = await self.node.done(
            "POST", "/health-links", json={"patient_id": patient_id, "consent": CONSENT, **order}
        )
        return Receiver(made["shlink"], await self.place()), made

    async def get(self, path: str, token: str, accept: str = "*/*") -> Answer:
        """GET with a bearer token."""
        headers = {"Authorization": f"Bearer {token}", "Accept": accept}
        return await ask(self.http, "GET", self.node.api + path, headers=headers)

    async def keep(self, *files: bytes) -> None:
        """Import files."""
        run = (await self.node.done("POST", "/imports"))["import_id"]
        for file in files:
            await self.node.done("POST", f"/imports/{run}/files", data=io.BytesIO(file))
        await self.node.done("POST", f"/imports/{run}/end")  # closes revisions, so that all of it is indexed

    async def events(self, *types: str) -> list[dict[str, Any]]:
        """Audit events, newest first."""
        answer = await self.node.done("GET", f"/audit?types={','.join(types)}")
        found: list[dict[str, Any]] = answer["events"]
        return found


async def ask(http: ClientSession, method: str, url: str, **options: Any) -> Answer:
    async with http.request(method, url, allow_redirects=False, **options) as answer:
        return Answer(answer.status, dict(answer.headers), await answer.read())


def report_of(study: CtStudy, dataset: Dataset, name: str) -> bytes:
    """``dataset`` as one more instance of a study."""
    dataset.StudyInstanceUID, dataset.PatientID, dataset.PatientName = (
        study.study_uid, study.patient_id, study.patient_name,
    )  # fmt: skip
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.StudyDate, dataset.PatientBirthDate, dataset.PatientSex = study.study_date, study.birth_date, study.sex
    dataset.SeriesInstanceUID = pydicom.uid.generate_uid(entropy_srcs=["series", name])
    dataset.SOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=["instance", name])
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def reports() -> list[bytes]:
    """A PDF and a structured report of MINE."""
    scanned, structured = pdf(), dataset_of("test-SR.dcm")
    scanned.DocumentTitle = "Befund, unterschrieben"
    return [report_of(MINE, scanned, "pdf"), report_of(MINE, structured, "sr")]


@asynccontextmanager
async def linking(directory: Path, *, studies: tuple[CtStudy, ...] = (MINE, LATER, OTHER)) -> AsyncIterator[Linking]:
    """A node that serves, with a clock that the test moves."""
    settings = await asyncio.to_thread(initialised, directory, "north")
    settings = replace(settings, node=replace(settings.node, name="Northern Hospital"))
    keys = await asyncio.to_thread(open_keys, directory, settings.node)
    clock, logged = MovedClock(), io.StringIO()
    async with (
        Node(directory, settings, keys, log=make_logger(logged), clock=clock) as node,
        ClientSession(connector=UnixConnector(str(directory / "admin.sock"))) as admin,
        ClientSession() as http,
        AsyncExitStack() as stack,
    ):
        made = Linking(Running(directory, node, logged, admin), http, clock, stack)
        await made.keep(*(file for study in studies for file in study.files()), *reports())
        yield made
