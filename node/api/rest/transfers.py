"""Transfers in both directions."""

from collections.abc import Iterable

from node.api.paging import Window, part
from node.api.rest.access import CLINICAL, EVERYBODY
from node.api.rest.shapes.sharing import TransferList, TransferShown
from node.api.routing import Call, Route
from node.errors.sharing import NoSuchTransfer
from node.model.ids import RequestId
from node.model.transfer import Transfer
from node.sharing.requests import Requests


class TransfersResource:
    """``transfers``."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def routes(self) -> Iterable[Route]:
        """The routes."""
        transfers, one = "/api/v1/transfers", "/api/v1/transfers/{transfer_id}"
        return [
            Route(
                "GET",
                transfers,
                self.list,
                EVERYBODY,
                "Transfers in both directions, newest first",
                query=Window,
                answer=TransferList,
            ),
            Route("GET", one, self.show, EVERYBODY, "One transfer", answer=TransferShown),
            Route(
                "POST", f"{one}/cancel", self.cancel, CLINICAL, "Give a transfer up, at both ends", answer=TransferShown
            ),
        ]

    async def list(self, call: Call) -> TransferList:
        """A page."""
        asked: Window = call.asked
        found, more = part(call, await self._requests.transfers(limit=asked.ahead, offset=asked.offset))
        return {"transfers": [shown_transfer(one) for one in found], "next": more}

    async def show(self, call: Call) -> TransferShown:
        """One."""
        return shown_transfer(await self._requests.transfer(_named(call)))

    async def cancel(self, call: Call) -> TransferShown:
        """Give it up."""
        return shown_transfer(await self._requests.cancel(_named(call), by=call.caller.actor))


def shown_transfer(transfer: Transfer) -> TransferShown:
    """A transfer as the command line and the console show it."""
    return {
        "transfer_id": str(transfer.request_id),
        "direction": transfer.direction,
        "peer_id": transfer.peer.full,
        "study_instance_uid": transfer.studies[0] if transfer.studies else None,
        "studies": list(transfer.studies),
        "state": transfer.state,
        "code": transfer.code,
        "instances_done": transfer.instances_done,
        "instances_total": transfer.instances_total,
        "bytes_done": transfer.bytes_done,
        "bytes_total": transfer.bytes_total,
        "wire_bytes": transfer.wire_bytes,
        "seconds": round(transfer.seconds, 3),
        "created_at": transfer.created_at,
        "updated_at": transfer.updated_at,
    }


def _named(call: Call) -> RequestId:
    try:
        return RequestId.parse(call.parameter("transfer_id"))
    except ValueError as exc:
        raise NoSuchTransfer from exc
