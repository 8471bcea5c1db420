"""What the facility's DICOM systems may ask of this node besides storage: ``dicom.scp.Services``.

Only systems that an operator entered, from their address: everybody else may store and verify at most.
"""

from collections.abc import Awaitable, Callable, Mapping

from node.dicom.received import Status
from node.dicom.services import SERVICES
from node.dicom.upper_layer.command import CommandField
from node.dicom.upper_layer.operation import Caller, Operation
from node.dicom.upper_layer.service import Admission, Outcome
from node.sharing.commitment import StorageCommitment
from node.sharing.find import Find
from node.sharing.pacs import PacsDirectory
from node.sharing.retrieve import Retrieve

Answer = Callable[[Operation, bytes], Awaitable[Outcome]]

_KNOWN = Admission(services=SERVICES, retrieves=True)


class DimseServices:
    """Hands each request to the service that answers it."""

    def __init__(self, directory: PacsDirectory, find: Find, retrieve: Retrieve, commitment: StorageCommitment) -> None:
        self._directory = directory
        self._answers: Mapping[int, Answer] = {
            CommandField.C_FIND_RQ: find.answer,
            CommandField.C_MOVE_RQ: retrieve.move,
            CommandField.C_GET_RQ: retrieve.get,
            CommandField.N_ACTION_RQ: commitment.answer,
        }

    def admission(self, caller: Caller) -> Admission | None:
        """Everything, for a system that is entered."""
        return None if self._directory.caller(caller.ae_title, caller.address) is None else _KNOWN

    async def operate(self, operation: Operation, dataset: bytes) -> Outcome:
        """Answer a request; raises LeveretError."""
        answer = self._answers.get(operation.request.command)
        if answer is None:
            return Outcome(Status.UNRECOGNIZED_OPERATION)
        return await answer(operation, dataset)
