"""A DICOM peer made of bytes: says exactly what a test tells it to, well-formed or not."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from typing import Self

from node.dicom.upper_layer import pdu
from node.dicom.upper_layer.codes import PduType
from node.dicom.upper_layer.command import (
    CommandField,
    Request,
    Response,
    decode_response,
    encode_request,
)
from node.dicom.upper_layer.items import UserInformation

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"
SECONDS = 10.0


class Peer:
    """One connection. Every wait has an end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, address: tuple[str, int]) -> AsyncIterator[Self]:
        reader, writer = await asyncio.open_connection(*address)
        try:
            yield cls(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self) -> tuple[int, bytes]:
        """Type and body of the next PDU."""
        async with asyncio.timeout(SECONDS):
            head = await self.reader.readexactly(6)
            return head[0], await self.reader.readexactly(int.from_bytes(head[2:], "big"))

    async def closed(self) -> bool:
        """Wait until the other side closes; whether it had nothing more to say."""
        async with asyncio.timeout(SECONDS):
            try:
                return await self.reader.read(1) == b""
            except ConnectionResetError:
                return True

    async def associate(self, *contexts: tuple[str, str], calling: str = "RAW", max_length: int = 0) -> pdu.AssociateAc:
        """Propose (abstract, transfer) syntaxes under the ids 1, 3, 5 …; returns what was agreed."""
        await self.send(associate_rq(*(contexts or ((CT, EXPLICIT),)), calling=calling, max_length=max_length))
        kind, body = await self.receive()
        assert kind == PduType.ASSOCIATE_AC, (kind, body)
        answer = pdu.decode(PduType.ASSOCIATE_AC, memoryview(body))
        assert isinstance(answer, pdu.AssociateAc)
        return answer

    async def response(self) -> Response:
        """The next response, whatever PDUs it comes in."""
        command = b""
        while True:
            kind, body = await self.receive()
            assert kind == PduType.P_DATA_TF, (kind, body)
            command += body[6:]
            if body[5] & pdu.IS_LAST:
                return decode_response(command)

    async def store(self, dataset: bytes, uid: str = "1.2.3", message_id: int = 1) -> Response:
        await self.send(store_rq(uid, message_id=message_id) + data(dataset))
        return await self.response()

    async def release(self) -> None:
        await self.send(pdu.encode(pdu.ReleaseRq()))
        assert await self.receive() == (PduType.RELEASE_RP, bytes(4))


def associate_rq(*contexts: tuple[str, str], calling: str = "RAW", max_length: int = 0) -> bytes:
    proposed = tuple(
        pdu.ProposedContext(2 * number + 1, abstract, (transfer,))
        for number, (abstract, transfer) in enumerate(contexts)
    )
    titles = pdu.Titles.of("LEVERET", calling)
    return pdu.encode(pdu.AssociateRq(titles, proposed, UserInformation(max_length, "1.2.3.4", "RAW")))


def store_rq(uid: str = "1.2.3", *, context_id: int = 1, message_id: int = 1, sop_class: str = CT) -> bytes:
    request = Request(CommandField.C_STORE_RQ, message_id, True, sop_class, uid)
    return pdu.encode_data(context_id, encode_request(request), is_command=True, max_length=0)


def echo_rq(*, context_id: int = 1, message_id: int = 1) -> bytes:
    request = Request(CommandField.C_ECHO_RQ, message_id, False, VERIFICATION)
    return pdu.encode_data(context_id, encode_request(request), is_command=True, max_length=0)


def data(dataset: bytes, *, context_id: int = 1, max_length: int = 65536) -> bytes:
    return pdu.encode_data(context_id, dataset, is_command=False, max_length=max_length)


def p_data(*pdvs: tuple[int, int, bytes]) -> bytes:
    """One P-DATA-TF of (context id, control header, fragment)."""
    body = b"".join(struct.pack(">IBB", len(piece) + 2, context, control) + piece for context, control, piece in pdvs)
    return struct.pack(">BBI", PduType.P_DATA_TF, 0, len(body)) + body
