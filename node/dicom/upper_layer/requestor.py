"""Calling another DICOM system: an association that this node asks for, on asyncio.

One request at a time. Data sets are sent as they come, piece by piece, at the pace at which the other side takes them.
"""

import asyncio
import ssl
from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from node.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.dicom.services import VERIFICATION
from node.dicom.upper_layer.codes import ContextResult
from node.dicom.upper_layer.command import CommandField, MoveOriginator, Request
from node.dicom.upper_layer.items import RoleSelection, UserInformation
from node.dicom.upper_layer.limits import DEFAULT_MAX_PDU
from node.dicom.upper_layer.messages import MessageReader
from node.dicom.upper_layer.outgoing import Buffer
from node.dicom.upper_layer.pdu import AssociateAc, AssociateRj, AssociateRq, ProposedContext, Titles
from node.dicom.upper_layer.reasons import explain_rejection
from node.dicom.upper_layer.wire import Wire
from node.errors.dimse import (
    AssociationBusy,
    AssociationLost,
    AssociationRejected,
    DicomTlsFailed,
    DicomUnreachable,
    NotAccepted,
)

_REJECTED_TRANSIENT = 2  # Result of an A-ASSOCIATE-RJ (PS3.8 table 9-21)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to wait, in seconds."""

    connect: float = 10.0  # for the transport connection, with TLS if asked for
    associate: float = 30.0  # for the answer to the A-ASSOCIATE-RQ
    response: float = 120.0  # for the answer to a request: storing may take its time
    stall: float = 60.0  # without one byte being taken
    release: float = 5.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What the other system answered; ``comment`` is its own word and may say anything: not for logs."""

    status: int
    comment: str = ""


class Association:
    """An async context manager: associated while its block runs, released at its end, aborted if that raises.

    Args:
        host: name or IP address of the other system.
        port: its port.
        calling: this node's AE title.
        called: the other's.
        contexts: what to propose, at most 128, ids odd and unlike.
        roles: the role selections to propose (PS3.7 section D.3.3.4).
        tls: a context for a TLS connection; None for none.
        limits: how long to wait.

    Raises, on entering:
        DicomUnreachable, DicomTlsFailed: no connection.
        AssociationRejected, AssociationBusy: refused for good, or for now; the fact says why.
        AssociationLost: ended before it began.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        calling: str,
        called: str,
        contexts: Sequence[ProposedContext],
        roles: Sequence[RoleSelection] = (),
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._limits = limits or Limits()
        user = UserInformation(
            DEFAULT_MAX_PDU, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, roles=tuple(roles)
        )
        self._request = AssociateRq(Titles.of(called, calling), tuple(contexts), user)
        self._wire = Wire()
        self._message_id = 0
        self._accepted: dict[int, tuple[str, str]] = {}
        self._answer: AssociateAc | None = None

    @property
    def accepted(self) -> Mapping[int, tuple[str, str]]:
        """The accepted presentation contexts: id to abstract and transfer syntax."""
        return self._accepted

    @property
    def answer(self) -> AssociateAc:
        """The A-ASSOCIATE-AC."""
        assert self._answer is not None, "not associated"
        return self._answer

    def context_of(self, abstract_syntax: str) -> int:
        """The first accepted context of an abstract syntax; raises NotAccepted."""
        for context_id, (abstract, _) in self._accepted.items():
            if abstract == abstract_syntax:
                return context_id
        raise NotAccepted

    async def __aenter__(self) -> Self:
        """Connect and associate."""
        await self._connect()
        try:
            answer = await self._wire.associate(self._request, self._limits.associate)
            if isinstance(answer, AssociateRj):
                kind = AssociationBusy if answer.result == _REJECTED_TRANSIENT else AssociationRejected
                raise kind(explain_rejection(answer))
        except BaseException:
            self._wire.abort()
            raise
        self._answer = answer
        proposed = {context.context_id: context.abstract_syntax for context in self._request.contexts}
        self._accepted.update(
            (one.context_id, (proposed[one.context_id], one.transfer_syntax))
            for one in answer.contexts
            if one.result == ContextResult.ACCEPTANCE and one.context_id in proposed
        )
        self._wire.reader = MessageReader(self._accepted)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release, or abort if the block raised."""
        if error is not None:
            self._wire.abort()
        else:
            await self._wire.release(self._limits.release)

    async def echo(self) -> Reply:
        """C-ECHO; raises NotAccepted, AssociationLost."""
        return await self._ask(self.context_of(VERIFICATION), CommandField.C_ECHO_RQ, VERIFICATION)

    async def store(
        self,
        context_id: int,
        pieces: AsyncIterable[Buffer],
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        originator: MoveOriginator | None = None,
    ) -> Reply:
        """C-STORE of the data set that ``pieces`` are, in the transfer syntax of the context.

        A piece is read after the next one has been taken: its memory must not be used again.

        Raises:
            AssociationLost: no answer came; whether it was stored is not known.
            whatever ``pieces`` raises: the association is aborted, because the data set has begun and cannot end.
        """
        request = self._new(
            CommandField.C_STORE_RQ, sop_class_uid, sop_instance_uid, has_dataset=True, originator=originator
        )
        return await self._exchange(context_id, request, pieces)

    async def n_event_report(
        self, context_id: int, *, sop_class_uid: str, sop_instance_uid: str, event_type: int, dataset: bytes
    ) -> Reply:
        """N-EVENT-REPORT; raises AssociationLost."""
        field = CommandField.N_EVENT_REPORT_RQ
        return await self._ask(context_id, field, sop_class_uid, sop_instance_uid, type_id=event_type, dataset=dataset)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        where = f"{self._host}:{self._port}"
        name = self._host if self._tls else None
        try:
            async with asyncio.timeout(self._limits.connect):
                await loop.create_connection(
                    lambda: self._wire, self._host, self._port, ssl=self._tls, server_hostname=name
                )
        except ssl.SSLError as exc:
            raise DicomTlsFailed(where) from exc
        except (OSError, UnicodeError) as exc:  # TimeoutError is one; a host name may be no name at all
            raise DicomUnreachable(where) from exc

    def _new(
        self,
        command: CommandField,
        sop_class: str,
        sop_instance: str = "",
        *,
        has_dataset: bool = False,
        type_id: int = 0,
        originator: MoveOriginator | None = None,
    ) -> Request:
        self._message_id = self._message_id % 0xFFFF + 1
        return Request(
            command, self._message_id, has_dataset, sop_class, sop_instance, type_id=type_id, originator=originator
        )

    async def _ask(
        self,
        context_id: int,
        command: CommandField,
        sop_class: str,
        sop_instance: str = "",
        *,
        type_id: int = 0,
        dataset: bytes | None = None,
    ) -> Reply:
        request = self._new(command, sop_class, sop_instance, has_dataset=dataset is not None, type_id=type_id)
        return await self._exchange(context_id, request, None if dataset is None else _once(dataset))

    async def _exchange(self, context_id: int, request: Request, dataset: AsyncIterable[Buffer] | None) -> Reply:
        """Send a request and wait for its response; whatever interrupts that costs the association."""
        try:
            reply = self._wire.begin(context_id, request)
            if dataset is not None:
                await self._wire.send(context_id, dataset, self._limits.stall)
            async with asyncio.timeout(self._limits.response):
                response = await reply
        except TimeoutError as exc:
            self._wire.abort()
            raise AssociationLost("no answer in time") from exc
        except BaseException:
            self._wire.abort()
            raise
        return Reply(response.status, response.comment)


async def _once(dataset: bytes) -> AsyncIterable[bytes]:
    yield dataset
