"""What to answer to an A-ASSOCIATE-RQ: a pure decision.

Any storage class is accepted, and Verification; private and unknown SOP classes count as storage. Of the proposed
transfer syntaxes the first is taken, the requestor's own preference, because data sets are kept as they come. Services
beside storage are accepted for callers that are admitted to them, in an encoding in which identifiers are read. Of the
negotiations of PS3.7 annex D:

- roles: the requestor may be SCU; it may be SCP of storage, so that instances are sent to it (C-GET), if it is admitted
  to that (D.3.3.4). Then the transfer syntax is one that everything can be written in, if it proposes one;
- asynchronous operations: one at a time either way (D.3.3.3);
- extended negotiation of Storage: every attribute is kept, bit by bit, nothing is coerced (PS3.4 section B.3.1); of
  queries and retrieval: relational ones are answered, nothing else (PS3.4 section C.5);
- user identity: not verified, so not confirmed; PS3.7 section D.3.3.7 leaves the rest to the requestor.
"""

from dataclasses import dataclass

from node.dicom.services import QUERY_RETRIEVE, SERVICES, VERIFICATION, is_storage
from node.dicom.upper_layer.codes import ContextResult
from node.dicom.upper_layer.items import AsyncWindow, ExtendedNegotiation, RoleSelection, UserInformation
from node.dicom.upper_layer.pdu import AssociateAc, AssociateRq, ContextAnswer, ProposedContext
from node.dicom.upper_layer.service import Admission
from node.errors.identifiers import InvalidUid
from node.model.ids import TransferSyntaxUID, Uid

IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"  # stands in answers whose transfer syntax has no meaning
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
# Level 2 (every attribute is kept), reserved, digital signatures at level 3 (kept bit by bit), reserved, no coercion.
STORAGE_AS_RECEIVED = bytes((2, 0, 3, 0, 0, 0))
_IDENTIFIERS = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)
_NOBODY = Admission()


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """What an accepted presentation context means.

    ``sends``: this node may send instances in it. ``relational``: queries need not name the entities above.
    """

    abstract_syntax: str
    transfer_syntax: TransferSyntaxUID
    sends: bool = False
    relational: bool = False


@dataclass(frozen=True, slots=True)
class Negotiated:
    """The answer, and what it agreed to."""

    answer: AssociateAc
    contexts: dict[int, AcceptedContext]


def negotiate(
    request: AssociateRq, *, max_pdu: int, implementation: tuple[str, str], admission: Admission = _NOBODY
) -> Negotiated:
    """Answer ``request``; ``implementation`` is this one's class UID and version name."""
    roles = {
        role.sop_class_uid: RoleSelection(role.sop_class_uid, role.scu, scp=_sends(role, admission))
        for role in request.user.roles
    }
    extended = {one.sop_class_uid: one.information for one in request.user.extended}
    answers = [_answer(context, roles.get(context.abstract_syntax), admission) for context in request.contexts]
    contexts = {
        proposed.context_id: AcceptedContext(
            proposed.abstract_syntax,
            TransferSyntaxUID(answer.transfer_syntax),
            sends=proposed.abstract_syntax in roles and roles[proposed.abstract_syntax].scp,
            relational=extended.get(proposed.abstract_syntax, b"")[:1] == b"\1",
        )
        for proposed, answer in zip(request.contexts, answers, strict=True)
        if answer.result == ContextResult.ACCEPTANCE
    }
    accepted = {context.abstract_syntax for context in contexts.values()}
    class_uid, version = implementation
    user = UserInformation(
        max_length=max_pdu,
        implementation_class_uid=class_uid,
        implementation_version=version,
        async_window=None if request.user.async_window is None else AsyncWindow(1, 1),
        roles=tuple(role for uid, role in roles.items() if uid in accepted),
        extended=tuple(
            ExtendedNegotiation(uid, _extended(uid, information))
            for uid, information in extended.items()
            if uid in accepted and (uid in QUERY_RETRIEVE or is_storage(uid))
        ),
    )
    return Negotiated(AssociateAc(request.titles, tuple(answers), user), contexts)


def _answer(context: ProposedContext, role: RoleSelection | None, admission: Admission) -> ContextAnswer:
    syntax = _syntax(context, sends=role is not None and role.scp)
    is_service = context.abstract_syntax in SERVICES
    if not _is_uid(context.abstract_syntax) or not (is_service or _is_served(context.abstract_syntax)):
        result = ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
    elif not _is_allowed(context.abstract_syntax, role, admission):
        result = ContextResult.USER_REJECTION
    elif not _is_uid(syntax):
        result = ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
    else:
        return ContextAnswer(context.context_id, ContextResult.ACCEPTANCE, syntax)
    return ContextAnswer(context.context_id, result, IMPLICIT_LITTLE_ENDIAN)


def _is_allowed(abstract_syntax: str, role: RoleSelection | None, admission: Admission) -> bool:
    if abstract_syntax in SERVICES:
        return abstract_syntax in admission.services
    return role is None or role.scu or role.scp  # else it would have this node send, and may not


def _syntax(context: ProposedContext, *, sends: bool) -> str:
    proposed = context.transfer_syntaxes
    if context.abstract_syntax in SERVICES:
        return next((syntax for syntax in proposed if syntax in _IDENTIFIERS), "")
    if sends:
        preferred = next((syntax for syntax in _IDENTIFIERS if syntax in proposed), None)
        if preferred is not None:
            return preferred
    return proposed[0] if proposed else ""


def _sends(role: RoleSelection, admission: Admission) -> bool:
    return role.scp and admission.retrieves and is_storage(role.sop_class_uid)


def _extended(sop_class: str, information: bytes) -> bytes:
    if sop_class not in QUERY_RETRIEVE:
        return STORAGE_AS_RECEIVED
    return bytes((information[:1] == b"\1", *bytes(len(information[1:]))))


def _is_served(abstract_syntax: str) -> bool:
    return abstract_syntax == VERIFICATION or is_storage(abstract_syntax)


def _is_uid(text: str) -> bool:
    try:
        Uid.parse(text)
    except InvalidUid:
        return False
    return True
