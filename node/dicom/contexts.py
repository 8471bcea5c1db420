"""Which presentation contexts to propose for sending a study, and which of the accepted ones each instance takes. Pure.

As it is first: each SOP class with each stored transfer syntax has a context of its own, so that an acceptor cannot
choose another syntax in its place. A further context for each SOP class proposes the uncompressed syntaxes into which
whatever is refused may be converted. An association carries 128 contexts at most (PS3.8 section 9.3.2.2: odd numbers of
one byte), so a study with more needs several, one after another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from node.dicom.structure import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from node.dicom.upper_layer.pdu import ProposedContext
from node.model.ids import SOPClassUID, TransferSyntaxUID

MAX_CONTEXTS = 128
FALLBACKS = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)  # in the order in which they are preferred

Kind = tuple[SOPClassUID, TransferSyntaxUID]
Accepted = Mapping[int, tuple[str, str]]  # context id to abstract and transfer syntax


@dataclass(frozen=True, slots=True)
class AssociationPlan:
    """One association: what to propose, and the indexes of the instances that travel on it, in their order."""

    contexts: tuple[ProposedContext, ...]
    instances: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Way:
    """How an instance can go: in which context, written in which transfer syntax."""

    context_id: int
    syntax: TransferSyntaxUID


def plan_associations(kinds: Sequence[Kind]) -> list[AssociationPlan]:
    """The associations that the instances ``kinds`` (SOP class, stored syntax) need; each instance is on one."""
    syntaxes: dict[SOPClassUID, list[TransferSyntaxUID]] = {}
    for sop_class, syntax in dict.fromkeys(kinds):
        syntaxes.setdefault(sop_class, []).append(syntax)
    loads: list[list[tuple[SOPClassUID, list[TransferSyntaxUID]]]] = [[]]
    used = 0
    for sop_class, stored in syntaxes.items():
        for first in range(0, len(stored), MAX_CONTEXTS - 1):
            some = stored[first : first + MAX_CONTEXTS - 1]
            need = len(_proposals(sop_class, some))
            if used + need > MAX_CONTEXTS:
                loads.append([])
                used = 0
            loads[-1].append((sop_class, some))
            used += need
    return [_association(load, kinds) for load in loads if load]


def choose(kind: Kind, accepted: Accepted) -> Way | None:
    """The best way for an instance: as it is, else explicit, else implicit little endian; None if there is none."""
    sop_class, stored = kind
    offers = {syntax: context_id for context_id, (abstract, syntax) in accepted.items() if abstract == sop_class}
    for syntax in (stored, *FALLBACKS):
        if syntax in offers:
            return Way(offers[syntax], syntax)
    return None


def _proposals(
    sop_class: SOPClassUID, stored: Sequence[TransferSyntaxUID]
) -> list[tuple[SOPClassUID, tuple[TransferSyntaxUID, ...]]]:
    fallback = tuple(syntax for syntax in FALLBACKS if syntax not in stored)
    return [*((sop_class, (syntax,)) for syntax in stored), *([(sop_class, fallback)] if fallback else [])]


def _association(
    load: Sequence[tuple[SOPClassUID, Sequence[TransferSyntaxUID]]], kinds: Sequence[Kind]
) -> AssociationPlan:
    proposals = [one for sop_class, stored in load for one in _proposals(sop_class, stored)]
    contexts = tuple(
        ProposedContext(2 * number + 1, abstract, syntaxes) for number, (abstract, syntaxes) in enumerate(proposals)
    )
    served = {(sop_class, syntax) for sop_class, stored in load for syntax in stored}
    return AssociationPlan(contexts, tuple(i for i, kind in enumerate(kinds) if kind in served))
