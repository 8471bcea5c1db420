"""A request whose data set is arriving: what is to become of it, as far as its command set tells."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

from node.dicom.glance import GLANCE_BYTES
from node.dicom.received import Arriving, Status
from node.dicom.services import FIND, GET, MOVE, STORAGE_COMMITMENT, is_storage
from node.dicom.upper_layer.command import CommandField, Request
from node.dicom.upper_layer.limits import MAX_ACTION_BYTES, MAX_IDENTIFIER_BYTES
from node.dicom.upper_layer.negotiation import AcceptedContext
from node.dicom.upper_layer.service import Outcome
from node.errors.identifiers import InvalidUid
from node.model.ids import Uid

if TYPE_CHECKING:  # it only says of what kind an attribute is
    from node.dicom.upper_layer.intake import Stream

# Which abstract syntaxes each operation belongs to, and how long its data set may be.
_OPERATIONS: Mapping[int, tuple[frozenset[str], int]] = {
    CommandField.C_FIND_RQ: (FIND, MAX_IDENTIFIER_BYTES),
    CommandField.C_MOVE_RQ: (MOVE, MAX_IDENTIFIER_BYTES),
    CommandField.C_GET_RQ: (GET, MAX_IDENTIFIER_BYTES),
    CommandField.N_ACTION_RQ: (frozenset({STORAGE_COMMITMENT}), MAX_ACTION_BYTES),
}
_NONE: tuple[frozenset[str], int] = (frozenset(), 0)
_DROPPED = Request(0, 0, has_dataset=True)


class Incoming:
    """One message. ``most``: bytes of its data set if it asks for an operation; 0 if it is an instance."""

    def __init__(self, context_id: int, request: Request, *, most: int = 0, outcome: Outcome | None = None) -> None:
        self.context_id = context_id
        self.request = request
        self.most = most
        self.size = 0
        self.is_complete = self.is_dropped = False
        self.stream: Stream | None = None
        self.arriving: Arriving | None = None
        self.next_look = GLANCE_BYTES  # at this size, something can be done with what is there
        self.outcome = outcome  # known before the end: the rest is dropped

    @classmethod
    def dropped(cls, context_id: int) -> Self:
        """The data set of an answer, which says nothing that is needed here."""
        incoming = cls(context_id, _DROPPED, outcome=Outcome(Status.SUCCESS))
        incoming.is_dropped = True
        return incoming


def begin(context_id: int, request: Request, context: AcceptedContext) -> Incoming:
    """What a request that came in ``context`` asks for, or how it is answered whatever follows."""
    if request.command == CommandField.C_ECHO_RQ:
        return Incoming(context_id, request, outcome=Outcome(Status.SUCCESS))
    if request.command == CommandField.C_STORE_RQ:
        return Incoming(context_id, request, outcome=_refuse_instance(request, context))
    classes, most = _OPERATIONS.get(request.command, _NONE)
    if context.abstract_syntax not in classes:
        return Incoming(context_id, request, outcome=Outcome(Status.UNRECOGNIZED_OPERATION))
    if not request.has_dataset:
        return Incoming(context_id, request, outcome=Outcome(Status.MISMATCH, "no data set"))
    if request.sop_class_uid != context.abstract_syntax:
        return Incoming(context_id, request, outcome=Outcome(Status.SOP_CLASS_NOT_SUPPORTED, "not of this context"))
    return Incoming(context_id, request, most=most)


def _refuse_instance(request: Request, context: AcceptedContext) -> Outcome | None:
    if not is_storage(context.abstract_syntax) or not is_storage(request.sop_class_uid):
        return Outcome(Status.SOP_CLASS_NOT_SUPPORTED, "not a storage class")
    if not request.has_dataset:
        return Outcome(Status.CANNOT_UNDERSTAND, "no data set")
    try:
        Uid.parse(request.sop_instance_uid)
    except InvalidUid:
        return Outcome(Status.INVALID_OBJECT_INSTANCE, "the instance UID is none")
    return None
