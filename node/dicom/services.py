"""Which SOP classes are for storage: private, retired and future ones too."""

VERIFICATION = "1.2.840.10008.1.1"

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
