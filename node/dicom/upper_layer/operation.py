"""A request that takes its time (C-FIND, C-MOVE, C-GET, N-ACTION), as the service that answers it sees it."""

from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from node.dicom.upper_layer.command import Counts, Request, Response, encode_response
from node.dicom.upper_layer.negotiation import AcceptedContext
from node.dicom.upper_layer.outgoing import Buffer

ANSWER_SECONDS = 120.0  # for the answer to a request that is sent to the caller


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    ae_title: str
    address: str


class Conversation(Protocol):
    """The association, for whoever answers on it or asks back. Everything raises AssociationLost once it has ended."""

    @property
    def contexts(self) -> Mapping[int, AcceptedContext]:
        """The accepted presentation contexts."""

    async def tell(self, context_id: int, command: bytes, dataset: bytes | None = None) -> None:
        """Send a message; waits while the caller does not read."""

    async def ask(
        self, context_id: int, request: Request, dataset: AsyncIterable[Buffer], seconds: float = ANSWER_SECONDS
    ) -> Response:
        """Send a request of this side's and wait for its answer; one at a time."""


@dataclass(eq=False, slots=True)
class Operation:
    """One request that is being answered. ``is_cancelled``: the caller sent a C-CANCEL."""

    conversation: Conversation = field(repr=False)
    caller: Caller
    context_id: int
    request: Request = field(repr=False)
    is_cancelled: bool = False

    @property
    def context(self) -> AcceptedContext:
        """The presentation context of the request."""
        return self.conversation.contexts[self.context_id]

    async def pending(self, status: int, dataset: bytes | None = None, counts: Counts | None = None) -> None:
        """Send an answer after which others follow; raises AssociationLost."""
        command = encode_response(self.request, status, has_dataset=dataset is not None, counts=counts)
        await self.conversation.tell(self.context_id, command, dataset)
