"""Which SOP classes are served: for storage any, private, retired and future ones too; and those of services."""

VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"  # Push Model (PS3.4 annex J)
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"  # its well-known SOP instance
# Query/Retrieve (PS3.4 annex C)
PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_ROOT_GET = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
FIND = frozenset({PATIENT_ROOT_FIND, STUDY_ROOT_FIND})
MOVE = frozenset({PATIENT_ROOT_MOVE, STUDY_ROOT_MOVE})
GET = frozenset({PATIENT_ROOT_GET, STUDY_ROOT_GET})
PATIENT_ROOT = frozenset({PATIENT_ROOT_FIND, PATIENT_ROOT_MOVE, PATIENT_ROOT_GET})
QUERY_RETRIEVE = FIND | MOVE | GET
SERVICES = QUERY_RETRIEVE | {STORAGE_COMMITMENT}  # all that is served besides storage and verification

_STANDARD = "1.2.840.10008."
# Storage under the standard's root, by the prefixes that PS3.6 table A-1 uses; also what later editions will add.
_STORAGE_PREFIXES = (
    "1.2.840.10008.5.1.4.1.1.",  # storage
    "1.2.840.10008.5.1.1.27",  # Stored Print Storage, retired
    "1.2.840.10008.5.1.1.29",  # Hardcopy Grayscale Image Storage, retired
    "1.2.840.10008.5.1.1.30",  # Hardcopy Color Image Storage, retired
    "1.2.840.10008.5.1.4.34.7",  # RT Beams Delivery Instruction Storage
    "1.2.840.10008.5.1.4.34.10",  # RT Brachy Application Setup Delivery Instruction Storage
    "1.2.840.10008.5.1.4.38.1",  # Hanging Protocol Storage
    "1.2.840.10008.5.1.4.39.1",  # Color Palette Storage
    "1.2.840.10008.5.1.4.43.1",  # Generic Implant Template Storage
    "1.2.840.10008.5.1.4.44.1",  # Implant Assembly Template Storage
    "1.2.840.10008.5.1.4.45.1",  # Implant Template Group Storage
)


def is_storage(abstract_syntax: str) -> bool:
    """Whether an abstract syntax is served as storage."""
    return not abstract_syntax.startswith(_STANDARD) or any(
        abstract_syntax == prefix or abstract_syntax.startswith(prefix.rstrip(".") + ".")
        for prefix in _STORAGE_PREFIXES
    )
