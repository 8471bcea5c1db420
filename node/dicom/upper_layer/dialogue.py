"""What this side says on an association that it accepted, besides its answers: ``operation.Conversation``."""

import asyncio
from collections.abc import AsyncIterable, Callable, Mapping

from node.dicom.upper_layer.command import Request, Response, encode_request
from node.dicom.upper_layer.errors import RemoteProtocolError
from node.dicom.upper_layer.machine import Machine
from node.dicom.upper_layer.negotiation import AcceptedContext
from node.dicom.upper_layer.operation import ANSWER_SECONDS
from node.dicom.upper_layer.outgoing import Buffer, send_dataset
from node.errors.dimse import AssociationLost


class Dialogue:
    """Sends by ``flow``, which says whether there still is an association; ``end`` aborts it, for a reason."""

    def __init__(
        self,
        machine: Machine,
        contexts: Mapping[int, AcceptedContext],
        flow: Callable[[bytes], bool],
        end: Callable[[str], None],
    ) -> None:
        self._machine = machine
        self._contexts = contexts
        self._flow = flow
        self._end = end
        self._room = asyncio.Event()
        self._room.set()
        self._asked: Request | None = None
        self._answer: asyncio.Future[Response] | None = None

    @property
    def contexts(self) -> Mapping[int, AcceptedContext]:
        """The accepted presentation contexts."""
        return self._contexts

    @property
    def is_asking(self) -> bool:
        """Whether an answer of the peer is waited for, or a request is on its way to it."""
        return self._asked is not None

    async def tell(self, context_id: int, command: bytes, dataset: bytes | None = None) -> None:
        """Send a message; waits while the peer does not read. Raises AssociationLost."""
        self._write(b"")
        self._machine.send_command(context_id, command)
        if dataset is not None:
            self._machine.send_data(context_id, dataset)
        self._write(b"")
        await self._drain()

    async def ask(
        self, context_id: int, request: Request, dataset: AsyncIterable[Buffer], seconds: float = ANSWER_SECONDS
    ) -> Response:
        """Send a request and wait for its answer; raises AssociationLost.

        Whatever else interrupts it aborts the association: the data set has begun and cannot end.
        """
        self._write(b"")
        assert self._asked is None, "one request at a time"
        self._asked = request
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._answer = answer
        try:
            self._machine.send_command(context_id, encode_request(request))
            await send_dataset(self._machine, context_id, dataset, write=self._write, drain=self._drain)
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            self._end("no answer")
            raise AssociationLost("no answer in time") from None
        except BaseException:
            self._end("request broken off")
            raise
        finally:
            self._asked = self._answer = None

    # What the association tells

    def answered(self, response: Response) -> None:
        """The peer answers; raises RemoteProtocolError if it was not asked that."""
        asked, answer = self._asked, self._answer
        if asked is None or answer is None or answer.done():
            raise RemoteProtocolError("response without request")
        if (response.command, response.message_id) != (asked.command, asked.message_id):
            raise RemoteProtocolError("response without request")
        answer.set_result(response)

    def pause(self) -> None:
        """The peer does not read."""
        self._room.clear()

    def resume(self) -> None:
        """It does again."""
        self._room.set()

    def lose(self) -> None:
        """The association has ended."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(AssociationLost())
            self._answer.exception()  # whoever waits gets it; if nobody does, that is no news
        self._room.set()  # whoever waits for room finds out

    def _write(self, data: bytes) -> None:
        if not self._flow(data):
            raise AssociationLost

    async def _drain(self) -> None:
        await self._room.wait()
