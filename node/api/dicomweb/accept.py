"""What a WADO-RS request accepts (PS3.18 sections 8.7 and 10.4). Pure."""

import re
from dataclasses import dataclass

from node.api.dicomweb.multipart import MediaType
from node.dicom.outgoing import may_convert
from node.dicom.structure import EXPLICIT_LITTLE
from node.errors.access import NotAcceptable
from node.model.ids import TransferSyntaxUID

DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
OCTETS = "application/octet-stream"
RELATED = "multipart/related"
ANY = "*"


@dataclass(frozen=True, slots=True)
class Form:
    """One way in which instances are accepted: as parts of a body or one alone, in which transfer syntax."""

    multipart: bool
    transfer_syntax: str

    def target(self, stored: TransferSyntaxUID) -> TransferSyntaxUID | None:
        """In which transfer syntax an instance is answered; None if this node cannot make it.

        Implicit VR Little Endian is answered only where it is what is stored (PS3.18 section 8.7.3.5.2).
        """
        if self.transfer_syntax in {ANY, stored}:
            return stored
        can = self.transfer_syntax == EXPLICIT_LITTLE and may_convert(stored, EXPLICIT_LITTLE)
        return EXPLICIT_LITTLE if can else None


def accepted(header: str, parameter: str = "") -> list[MediaType]:
    """The media types of an Accept header, best first; the query parameter ``accept`` stands for it if given."""
    text = parameter or header or "*/*"
    found = [MediaType.parse(part) for part in re.findall(r'(?:[^,"]|"(?:\\.|[^"\\])*")+', text)]
    return sorted((kind for kind in found if _quality(kind) > 0), key=_quality, reverse=True)


def instance_forms(header: str, parameter: str = "") -> list[Form]:
    """In which forms ``application/dicom`` is accepted, the best one first.

    Without a transfer-syntax parameter the stored one is answered, as most servers do and most viewers expect.

    Raises:
        NotAcceptable: something else is wanted.
    """
    forms: list[Form] = []
    for kind in accepted(header, parameter):
        is_single = kind.name == DICOM
        is_any = kind.name in {"*/*", "multipart/*", "application/*"}
        is_related = kind.name == RELATED and _root_type(kind, DICOM) == DICOM
        if is_single or is_any or is_related:
            forms.append(Form(not is_single, kind.parameters.get("transfer-syntax", ANY)))
            if kind.name in {"*/*", "application/*"}:
                forms.append(Form(multipart=False, transfer_syntax=ANY))
    if not forms:
        raise NotAcceptable
    return forms


def wants_multipart_octets(header: str, parameter: str = "") -> bool:
    """How bulk data are wanted: in a multipart body (True) or alone; raises NotAcceptable."""
    for kind in accepted(header, parameter):
        if kind.name in {"*/*", "application/*", OCTETS}:
            return False
        if kind.name == RELATED and _root_type(kind, OCTETS) == OCTETS:
            return True
    raise NotAcceptable


def require_json(header: str, parameter: str = "") -> None:
    """Raises NotAcceptable unless DICOM JSON is accepted."""
    fits = {"*/*", "application/*", "application/json", DICOM_JSON}
    if not any(kind.name in fits for kind in accepted(header, parameter)):
        raise NotAcceptable("only application/dicom+json")


def _root_type(kind: MediaType, default: str) -> str:
    """The type of the parts of a multipart body; left out or ``*/*`` it is what there is."""
    given = kind.parameters.get("type", default).lower()
    return default if given == "*/*" else given


def _quality(kind: MediaType) -> float:
    try:
        return float(kind.parameters.get("q", "1"))
    except ValueError:
        return 0.0
