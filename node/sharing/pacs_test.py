"""``leveret pacs test``: calls a DICOM system as a delivery would, and says in words what it accepts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from node.dicom.services import STORAGE_COMMITMENT, STUDY_ROOT_FIND, STUDY_ROOT_MOVE, VERIFICATION
from node.dicom.upper_layer.pdu import ProposedContext
from node.dicom.upper_layer.reasons import explain_result
from node.dicom.upper_layer.requestor import Association, Limits
from node.errors import LeveretError
from node.model.pacs import Pacs
from node.sharing.pacs import PacsDirectory

_EXPLICIT, _IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
_PLAIN = (_EXPLICIT, _IMPLICIT)
_LIMITS = Limits(connect=5.0, associate=10.0, response=10.0)

_SERVICES = {
    VERIFICATION: "C-ECHO",
    STUDY_ROOT_FIND: "C-FIND (Study Root)",
    STUDY_ROOT_MOVE: "C-MOVE (Study Root)",
    STORAGE_COMMITMENT: "storage commitment",
}
# What facilities send each other most, and some that old systems refuse.
_STORAGE = {
    "1.2.840.10008.5.1.4.1.1.2": "CT images",
    "1.2.840.10008.5.1.4.1.1.4": "MR images",
    "1.2.840.10008.5.1.4.1.1.1.1": "digital X-ray images",
    "1.2.840.10008.5.1.4.1.1.6.1": "ultrasound images",
    "1.2.840.10008.5.1.4.1.1.1.2": "mammograms",
    "1.2.840.10008.5.1.4.1.1.13.1.3": "breast tomosynthesis",
    "1.2.840.10008.5.1.4.1.1.2.1": "enhanced CT images",
    "1.2.840.10008.5.1.4.1.1.4.1": "enhanced MR images",
    "1.2.840.10008.5.1.4.1.1.128": "PET images",
    "1.2.840.10008.5.1.4.1.1.88.33": "structured reports",
    "1.2.840.10008.5.1.4.1.1.88.59": "key object selections",
    "1.2.840.10008.5.1.4.1.1.104.1": "PDF reports",
    "1.2.840.10008.5.1.4.1.1.11.1": "presentation states",
    "1.2.840.10008.5.1.4.1.1.481.3": "RT structure sets",
}
_COMPRESSED = {
    "1.2.840.10008.1.2.4.50": "JPEG",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless",
    "1.2.840.10008.1.2.4.80": "JPEG-LS",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.201": "HTJ2K lossless",
    "1.2.840.10008.1.2.5": "RLE",
}
_CT = "1.2.840.10008.5.1.4.1.1.2"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried: what, whether it works, what was said, what to do."""

    what: str
    ok: bool
    said: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it. ``code``: the error that kept it from going further, or empty."""

    findings: Sequence[Finding]
    code: str = ""

    @property
    def ok(self) -> bool:
        """Whether studies can be sent: it answers, and takes CT images or whatever else it is for."""
        return not self.code and any(finding.ok for finding in self.findings if finding.what in _STORAGE.values())


async def try_pacs(directory: PacsDirectory, pacs: Pacs) -> Trial:
    """Call ``pacs``; what fails is a finding, not an error."""
    contexts = _contexts()
    try:
        async with directory.association(pacs, contexts, limits=_LIMITS) as association:
            findings = [
                Finding("association", ok=True, said=f"accepted by {pacs.ae_title} at {pacs.host}:{pacs.port}"),
                await _echo(association),
                *_services(contexts, association),
                *_syntaxes(contexts, association),
            ]
    except LeveretError as error:
        what = type(error).__doc__ or ""
        said = f"{what.splitlines()[0].rstrip('.')}: {error.fact}" if error.fact else what
        return Trial([Finding("association", ok=False, said=said, advice=_advice(error, directory, pacs))], error.code)
    return Trial(findings)


def _contexts() -> list[ProposedContext]:
    proposals = [
        *((uid, _PLAIN) for uid in (*_SERVICES, *_STORAGE)),
        *((_CT, (syntax,)) for syntax in _COMPRESSED),
    ]
    return [
        ProposedContext(2 * number + 1, abstract, syntaxes) for number, (abstract, syntaxes) in enumerate(proposals)
    ]


async def _echo(association: Association) -> Finding:
    if not any(abstract == VERIFICATION for abstract, _ in association.accepted.values()):
        return Finding("C-ECHO", ok=False, said="not supported", advice="It may do without; see what follows.")
    reply = await association.echo()
    return Finding("C-ECHO", ok=reply.status == 0, said=f"status {reply.status:04X}")


def _results(contexts: Sequence[ProposedContext], association: Association) -> Mapping[int, int]:
    answered = {answer.context_id: answer.result for answer in association.answer.contexts}
    return {context.context_id: answered.get(context.context_id, -1) for context in contexts}


def _services(contexts: Sequence[ProposedContext], association: Association) -> list[Finding]:
    results = _results(contexts, association)
    found = []
    for context in contexts[1 : len(_SERVICES) + len(_STORAGE)]:
        result = results[context.context_id]
        name = _SERVICES.get(context.abstract_syntax) or _STORAGE[context.abstract_syntax]
        is_storage = context.abstract_syntax in _STORAGE
        advice = "Instances of this kind will be reported as not taken." if is_storage and result else ""
        found.append(Finding(name, ok=result == 0, said=explain_result(result), advice=advice))
    return found


def _syntaxes(contexts: Sequence[ProposedContext], association: Association) -> list[Finding]:
    results = _results(contexts, association)
    tried = contexts[-len(_COMPRESSED) :]
    taken = [
        name for context, name in zip(tried, _COMPRESSED.values(), strict=True) if results[context.context_id] == 0
    ]
    said = f"as they are: {', '.join(taken)}" if taken else "none as they are"
    advice = "" if len(taken) == len(_COMPRESSED) else "Others are sent decompressed, which loses nothing."
    return [Finding("compressed CT images", ok=bool(taken), said=said, advice=advice)]


def _advice(error: LeveretError, directory: PacsDirectory, pacs: Pacs) -> str:
    fact = error.fact
    if "calling AE title" in fact:
        return f"Have its administrator enter AE title {directory.ae_title} with this machine's address."
    if "called AE title" in fact:
        return f"Ask its administrator for its AE title; {pacs.ae_title!r} is what is entered here."
    if "limit" in fact or "congestion" in fact:
        return "It is busy; try again, or have its administrator allow more associations."
    return error.advice
