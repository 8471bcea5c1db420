"""The copy that leaves for a PACS: the local identity in it, and every other byte as it was."""

import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import msgspec
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from support.datasets import (
    BIG,
    DELIMITED_ITEM,
    EXPLICIT,
    IMPLICIT,
    ITEM_END,
    JPEG,
    SEQUENCE_END,
    UNDEFINED,
    element,
    file_of,
    fragments,
    identity,
    pixels,
)
from support.zoo import MemorySource, zoo

from node.dicom.part10 import split_part10
from node.dicom.reconcile import ORIGINAL, OTHER_IDS, Identity, NativePixels, Rewrite, Rewritten, rewrite
from node.dicom.scan import header_of, scan
from node.dicom.structure import Cursor, Encoding, Unusual, spans
from node.errors.dicom import DicomRefused, HeaderTooLarge, InvalidHeader, NotDecodable
from node.model.ids import PatientKey, TransferSyntaxUID

LOCAL = Identity(
    patient_id="LOCAL-77",
    issuer="HERE",
    name="García^Lucía",
    birth_date="19610203",
    sex="F",
    accession="",
    origin_id="P1",
    origin_issuer="THERE",
    source="St. Elsewhere (AAAAAAA)",
    system="LEVERET",
    at="20260102030405+0000",
)
POLISH = msgspec.structs.replace(LOCAL, name="Łęcka^Żaneta")
NAMED = {0x00100010, 0x00100020, 0x00100021, 0x00100024, 0x00100030, 0x00100040, 0x00101002, 0x04000561}


def made(dataset: bytes, wanted: Rewrite, syntax: TransferSyntaxUID = EXPLICIT) -> tuple[bytes, Rewritten]:
    answer = rewrite(MemorySource(dataset), syntax, msgspec.json.encode(wanted).decode())
    rewritten = msgspec.msgpack.decode(answer, type=Rewritten)
    pieces, at = [], 0
    for offset, length, data in rewritten.splices:
        assert offset >= at
        pieces += [dataset[at:offset], data]
        at = offset + length
    return b"".join((*pieces, dataset[at:])), rewritten


def copy_of(dataset: bytes, who: Identity = LOCAL, syntax: TransferSyntaxUID = EXPLICIT) -> bytes:
    return made(dataset, Rewrite(who), syntax)[0]


def read(dataset: bytes, syntax: str = EXPLICIT) -> Dataset:
    encoding = Encoding.of(syntax)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = read_dataset(BytesIO(dataset), not encoding.explicit, not encoding.big)
        found.decode()
    return found


@dataclass
class Kept:
    path: Path
    dataset: bytes
    syntax: TransferSyntaxUID


def storable() -> Iterator[Kept]:
    """Every data set of the zoo that a node would keep, inflated where it is deflated."""
    for path in zoo():
        data = path.read_bytes()
        try:
            part = split_part10(data)
            dataset, syntax = data[part.dataset_offset :], part.transfer_syntax
            if Encoding.of(syntax).deflated:
                dataset, syntax = zlib.decompressobj(-15).decompress(dataset), EXPLICIT
            header_of(scan(MemorySource(dataset), syntax), syntax)
        except (DicomRefused, Unusual):
            continue
        yield Kept(path, dataset, syntax)


def test_every_byte_of_the_zoo_stays_but_the_named_elements() -> None:
    count = 0
    ascii_name = msgspec.structs.replace(LOCAL, name="Garcia^Lucia")
    for kept in storable():
        copy, rewritten = made(kept.dataset, Rewrite(ascii_name), kept.syntax)
        before = header_of(scan(MemorySource(kept.dataset), kept.syntax), kept.syntax)
        after = header_of(scan(MemorySource(copy), kept.syntax), kept.syntax)
        assert after.patient == PatientKey("HERE", "LOCAL-77"), kept.path
        assert after.demographics.name == "Garcia^Lucia"
        assert (after.sop_instance_uid, after.series_instance_uid) == (
            before.sop_instance_uid,
            before.series_instance_uid,
        )
        removed = b"".join(kept.dataset[at : at + length] for at, length, _ in rewritten.splices)
        assert len(copy) == len(kept.dataset) - len(removed) + sum(len(new) for _, _, new in rewritten.splices)
        assert len(removed) < 4096, kept.path
        assert {tag for tag in _tags(removed, kept) if tag & 0xFFFF} <= NAMED, kept.path
        count += 1
    assert count > 240


def _tags(elements: bytes, kept: Kept) -> list[int]:
    warnings.simplefilter("ignore")
    for explicit in (Encoding.of(kept.syntax).explicit, not Encoding.of(kept.syntax).explicit):
        try:
            found = read_dataset(BytesIO(elements), not explicit, not Encoding.of(kept.syntax).big)
            return list(found.keys())
        except Exception:  # noqa: BLE001 - a file that is not in the encoding that it says
            continue
    pytest.fail(str(kept.path))


@pytest.mark.filterwarnings("ignore")
def test_written_anew_the_zoo_says_the_same() -> None:
    """In UTF-8, in explicit and in implicit little endian: the same elements with the same values."""
    count = 0
    for kept in storable():
        before = pydicom.dcmread(kept.path, stop_before_pixels=True)
        for wanted, syntax in (
            (Rewrite(POLISH), kept.syntax),
            (Rewrite(LOCAL, str(EXPLICIT)), EXPLICIT),
            (Rewrite(LOCAL, str(IMPLICIT)), IMPLICIT),
        ):
            try:
                copy, _ = made(kept.dataset, wanted, kept.syntax)
            except NotDecodable:
                continue  # an encapsulated icon
            assert wanted.identity is not None
            facts = scan(MemorySource(copy), syntax, to_end=False)
            assert (facts.patient_id, facts.patient_name) == ("LOCAL-77", wanted.identity.name), kept.path
            after = pydicom.filereader.read_partial(
                BytesIO(file_of(copy, TransferSyntaxUID(syntax))), lambda tag, *_: tag >= 0x7FE00008, force=True
            )
            for item in before:
                if item.tag in NAMED or item.tag.element == 0 or item.tag == 0x00080005 or item.tag >= 0x7FE00008:
                    continue
                assert item.tag in after, (kept.path.name, item.tag)
                is_plain = not item.tag.is_private and item.VR not in {"UN", "SQ", "OB", "OW"}
                if is_plain and item.VR == after[item.tag].VR:
                    assert after[item.tag].value == item.value, (kept.path.name, item.tag)
        count += 1
    assert count > 240


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG])
def test_says_what_was_replaced_and_by_whom(syntax: TransferSyntaxUID) -> None:
    order = ">" if syntax == BIG else "<"
    dataset = identity(order=order) + pixels(order=order)
    who = msgspec.structs.replace(LOCAL, name="Roe^Jane", accession="A-1")
    found = read(copy_of(dataset, who, syntax), syntax)
    assert (found.PatientID, found.IssuerOfPatientID, str(found.PatientName)) == ("LOCAL-77", "HERE", "Roe^Jane")
    assert (found.PatientBirthDate, found.PatientSex, found.AccessionNumber) == ("19610203", "F", "A-1")
    (original,) = found.OriginalAttributesSequence
    (before,) = original.ModifiedAttributesSequence
    assert (before.PatientID, str(before.PatientName)) == ("P1", "Doe^Jane")
    assert before.IssuerOfPatientID in {"", None}
    assert before.AccessionNumber in {"", None}
    assert original.ReasonForTheAttributeModification == "COERCE"
    assert original.ModifyingSystem == "LEVERET"
    assert original.SourceOfPreviousValues == LOCAL.source
    assert original.AttributeModificationDateTime == LOCAL.at
    (other,) = found.OtherPatientIDsSequence
    assert (other.PatientID, other.IssuerOfPatientID, other.TypeOfPatientID) == ("P1", "THERE", "TEXT")
    assert found.StudyInstanceUID == "1.2.3"
    assert list(found.keys()) == sorted(found.keys())


def test_what_the_local_record_does_not_say_stays() -> None:
    who = msgspec.structs.replace(LOCAL, name="", birth_date="", sex="")
    found = read(copy_of(identity() + pixels(), who))
    assert str(found.PatientName) == "Doe^Jane"
    assert "PatientBirthDate" not in found
    assert "PatientName" not in found.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]


def test_a_data_set_that_says_it_all_is_left_alone() -> None:
    once = copy_of(identity() + pixels())
    assert copy_of(once, msgspec.structs.replace(LOCAL, origin_id="LOCAL-77")) == once


def test_items_are_added_to_sequences_that_are_there() -> None:
    for length in (None, UNDEFINED):
        content = DELIMITED_ITEM + element(0x00100020, "LO", "OLD") + ITEM_END
        others = element(OTHER_IDS, "SQ", content + (SEQUENCE_END if length else b""), length)
        earlier = element(ORIGINAL, "SQ", DELIMITED_ITEM + element(0x04000565, "CS", "CORRECT") + ITEM_END)
        head = identity()
        cut = head.index(element(0x0020000D, "UI", "1.2.3"))
        found = read(copy_of(head[:cut] + others + head[cut:] + earlier + pixels()))
        assert [item.PatientID for item in found.OtherPatientIDsSequence] == ["OLD", "P1"]
        reasons = [item.ReasonForTheAttributeModification for item in found.OriginalAttributesSequence]
        assert reasons == ["CORRECT", "COERCE"]


def test_no_second_patient_id_survives_wherever_it_stands() -> None:
    """Readers differ about which of two they believe."""
    again = element(0x00100020, "LO", "SOMEBODY-ELSE")
    head = identity()
    for dataset in (head + again + pixels(), again + head + pixels(), head + pixels() + again):
        copy = copy_of(dataset)
        tags = [one.tag for one, _ in spans(Cursor(MemorySource(copy)), Encoding.of(EXPLICIT))]
        assert tags.count(0x00100020) == 1
        assert read(copy).PatientID == "LOCAL-77"
    with_fragments = head + fragments(b"abcd") + again
    assert b"SOMEBODY-ELSE" not in copy_of(with_fragments, LOCAL, JPEG)


def test_the_qualifiers_of_the_old_issuer_go_with_it() -> None:
    qualifiers = element(0x00100024, "SQ", DELIMITED_ITEM + element(0x00400032, "UT", "urn:x") + ITEM_END)
    head = identity()
    cut = head.index(element(0x0020000D, "UI", "1.2.3"))
    found = read(copy_of(head[:cut] + qualifiers + head[cut:] + pixels()))
    assert "IssuerOfPatientIDQualifiersSequence" not in found
    before = found.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert before.IssuerOfPatientIDQualifiersSequence[0].UniversalEntityID == "urn:x"


def test_retired_group_lengths_of_what_changes_are_dropped() -> None:
    lengths = element(0x00080000, "UL", (99).to_bytes(4, "little")) + identity()
    cut = lengths.index(element(0x00100010, "PN", "Doe^Jane"))
    dataset = lengths[:cut] + element(0x00100000, "UL", (28).to_bytes(4, "little")) + lengths[cut:] + pixels()
    found = read(copy_of(dataset, msgspec.structs.replace(LOCAL, name="Garcia^Lucia")))
    assert 0x00080000 in found  # that group is as it was
    assert 0x00100000 not in found


@pytest.mark.parametrize(
    ("declared", "raw", "text"),
    [
        ("", b"Gr\xfc\xdfe", "Grüße"),  # a lie of omission: as the index reads it
        ("ISO_IR 100", b"Gr\xfc\xdfe", "Grüße"),
        ("ISO_IR 144", "Привет".encode("iso8859_5"), "Привет"),
        ("GBK", "头\r\n部".encode("gbk"), "头\r\n部"),
        ("\\ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B", "山田"),
        ("ISO_IR 100", "naïve".encode(), "naïve"),  # a lie: as the index reads it
    ],
)
def test_a_name_that_does_not_fit_makes_all_text_utf_8(declared: str, raw: bytes, text: str) -> None:
    inner = element(0x00102110, "LO", raw) + element(0x00081030, "LO", raw)
    nested = element(0x00081140, "SQ", DELIMITED_ITEM + inner + ITEM_END)
    charset = element(0x00080005, "CS", declared) if declared else b""
    dataset = charset + identity() + element(0x00104000, "LT", raw) + nested + pixels()
    found = read(copy_of(dataset, msgspec.structs.replace(POLISH, name="Łęcka^山田")))
    assert found.SpecificCharacterSet == "ISO_IR 192"
    assert str(found.PatientName) == "Łęcka^山田"
    assert found.PatientComments.rstrip() == text
    assert found.ReferencedImageSequence[0].StudyDescription == text


def test_a_name_that_fits_leaves_the_character_set() -> None:
    latin = element(0x00080005, "CS", "ISO_IR 100") + identity() + element(0x00104000, "LT", b"Gr\xfc\xdfe") + pixels()
    copy = copy_of(latin)
    assert b"Gr\xfc\xdfe" in copy
    assert "García^Lucía".encode("latin_1") in copy
    assert read(copy).SpecificCharacterSet == "ISO_IR 100"


def test_decoded_pixels_are_described() -> None:
    dataset = (
        identity()
        + element(0x00280002, "US", b"\x03\0")
        + element(0x00280004, "CS", "YBR_FULL_422")
        + element(0x00280006, "US", b"\x01\0")
        + element(0x7FE00001, "OB", bytes(8))
        + fragments(b"abcd")
    )
    native = NativePixels(12, "OB", "RGB", by_pixel=True, lossy_method="ISO_10918_1")
    copy, rewritten = made(dataset, Rewrite(None, str(EXPLICIT), native), JPEG)
    assert rewritten.pixels is not None
    start, end = rewritten.pixels
    whole = copy[: len(copy) - (end - start)] + bytes(12)
    found = read(whole)
    assert (found.PhotometricInterpretation, found.PlanarConfiguration) == ("RGB", 0)
    assert (found.LossyImageCompression, found.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert 0x7FE00001 not in found
    assert found.PixelData == bytes(12)


def test_implicit_gets_the_vrs_of_the_dictionary() -> None:
    dataset = identity() + element(0x00280103, "US", b"\1\0") + element(0x00280106, "SS", b"\xff\xff") + pixels()
    implicit = made(dataset, Rewrite(None, str(IMPLICIT)))[0]
    back = read(made(implicit, Rewrite(None, str(EXPLICIT)), IMPLICIT)[0])
    assert (back[0x00280106].VR, back.SmallestImagePixelValue) == ("SS", -1)


def test_nothing_unbounded_is_held() -> None:
    name = element(0x00100010, "PN", "Doe^Jane")
    long_name = element(0x00100010, "UT", b"x" * (70 << 10))
    with pytest.raises(HeaderTooLarge):
        copy_of(identity().replace(name, long_name) + pixels())
    with pytest.raises(InvalidHeader):
        copy_of(b"\0" * 64)


def test_the_issuer_alone_may_be_what_changes() -> None:
    who = msgspec.structs.replace(LOCAL, patient_id="P1", name="", birth_date="", sex="")
    found = read(copy_of(identity() + pixels(), who))
    assert (found.PatientID, found.IssuerOfPatientID) == ("P1", "HERE")
    before = found.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert "PatientID" not in before
    assert found.OtherPatientIDsSequence[0].IssuerOfPatientID == "THERE"
