"""What to answer to an A-ASSOCIATE-RQ: a pure decision.

Any storage class is accepted, and Verification; private and unknown SOP classes count as storage. Of the proposed
transfer syntaxes the first is taken, the requestor's own preference, because data sets are kept as they come. Of the
negotiations of PS3.7 annex D:

- roles: the requestor may be SCU; this node is never SCU on an association that it accepted (D.3.3.4);
- asynchronous operations: one at a time either way (D.3.3.3);
- extended negotiation of Storage: every attribute is kept, bit by bit, nothing is coerced (PS3.4 section B.3.1);
- user identity: not verified, so not confirmed; PS3.7 section D.3.3.7 leaves the rest to the requestor.
"""

from dataclasses import dataclass

from node.dicom.services import VERIFICATION, is_storage
from node.dicom.upper_layer.codes import ContextResult
from node.dicom.upper_layer.items import AsyncWindow, ExtendedNegotiation, RoleSelection, UserInformation
from node.dicom.upper_layer.pdu import AssociateAc, AssociateRq, ContextAnswer, ProposedContext
from node.errors.identifiers import InvalidUid
from node.model.ids import TransferSyntaxUID, Uid

IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"  # stands in answers whose transfer syntax has no meaning
# Level 2 (every attribute is kept), reserved, digital signatures at level 3 (kept bit by bit), reserved, no coercion.
STORAGE_AS_RECEIVED = bytes((2, 0, 3, 0, 0, 0))


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """What an accepted presentation context means."""

    abstract_syntax: str
    transfer_syntax: TransferSyntaxUID


@dataclass(frozen=True, slots=True)
class Negotiated:
    """The answer, and what it agreed to."""

    answer: AssociateAc
    contexts: dict[int, AcceptedContext]


def negotiate(request: AssociateRq, *, max_pdu: int, implementation: tuple[str, str]) -> Negotiated:
    """Answer ``request``; ``implementation`` is this one's class UID and version name."""
    roles = {role.sop_class_uid: role for role in request.user.roles}
    answers = [_answer(context, roles.get(context.abstract_syntax)) for context in request.contexts]
    contexts = {
        proposed.context_id: AcceptedContext(proposed.abstract_syntax, TransferSyntaxUID(answer.transfer_syntax))
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
        roles=tuple(RoleSelection(uid, role.scu, scp=False) for uid, role in roles.items() if uid in accepted),
        extended=tuple(
            ExtendedNegotiation(one.sop_class_uid, STORAGE_AS_RECEIVED)
            for one in request.user.extended
            if one.sop_class_uid in accepted and one.sop_class_uid != VERIFICATION
        ),
    )
    return Negotiated(AssociateAc(request.titles, tuple(answers), user), contexts)


def _answer(context: ProposedContext, role: RoleSelection | None) -> ContextAnswer:
    first = context.transfer_syntaxes[0] if context.transfer_syntaxes else ""
    if not _is_uid(context.abstract_syntax) or not _is_served(context.abstract_syntax):
        result = ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
    elif role is not None and not role.scu:  # a C-GET requestor's: it would have this node send
        result = ContextResult.USER_REJECTION
    elif not _is_uid(first):
        result = ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
    else:
        return ContextAnswer(context.context_id, ContextResult.ACCEPTANCE, first)
    return ContextAnswer(context.context_id, result, IMPLICIT_LITTLE_ENDIAN)


def _is_served(abstract_syntax: str) -> bool:
    return abstract_syntax == VERIFICATION or is_storage(abstract_syntax)


def _is_uid(text: str) -> bool:
    try:
        Uid.parse(text)
    except InvalidUid:
        return False
    return True
