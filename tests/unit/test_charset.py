import warnings

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.charset import decode_bytes, python_encoding
from pydicom.values import convert_string

from node.dicom.charset import character_sets, decode, decode_text


@pytest.mark.parametrize(
    ("label", "raw", "text"),
    [
        (b"", b"Doe^Jane", "Doe^Jane"),
        (b"ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
        (b"ISO_IR 192", "Wang^XiaoDong=王^小東".encode(), "Wang^XiaoDong=王^小東"),
        (b"GB18030", "Wang^XiaoDong=王^小东".encode("gb18030"), "Wang^XiaoDong=王^小东"),
        (b"ISO_IR 144", b"\xbb\xee\xda\x63\x65\xdc\xd1\x79\x70\xd3", "Люкceмбypг"),  # noqa: RUF001  # of the standard, half of it Latin
        # PS3.5 annexes H, I and J
        (
            b"\\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        ),
        (
            b"ISO 2022 IR 13\\ISO 2022 IR 87",
            b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
            "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
        ),
        (
            b"\\ISO 2022 IR 149",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
            "Hong^Gildong=洪^吉洞=홍^길동",
        ),
        (b"\\ISO 2022 IR 58", b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=", "Zhang^XiaoDong=张^小东="),
        # spellings and lies seen in the wild
        (b"ISO-IR 100", b"J\xe9r\xf4me", "Jérôme"),
        (b"ISO_IR100 ", b"J\xe9r\xf4me", "Jérôme"),
        (b"latin1", "Jérôme".encode(), "Jérôme"),
        (b"ISO_IR 192", b"J\xe9r\xf4me", "Jérôme"),
        (b"", "Jérôme".encode(), "Jérôme"),
        (b"\\ISO 2022 IR 149", b"\xc8\xab", "홍"),
        (b"ISO_IR 100", "王".encode("gbk"), "Íõ"),
    ],
)
def test_reads(label: bytes, raw: bytes, text: str) -> None:
    assert decode(raw, character_sets(label)) == text


def test_padding_is_not_significant_and_controls_are_replaced() -> None:
    assert decode_text(b" P1 \0", ("ascii",)) == "P1"
    assert decode_text(b"a\x1b[31mb\nc\x00", ("latin_1",)) == "a\ufffd[31mb\ufffdc"


@given(
    st.sampled_from([b"", b"ISO_IR 100", b"ISO_IR 192", b"\\ISO 2022 IR 87", b"ISO 2022 IR 13\\ISO 2022 IR 149"]),
    st.lists(st.sampled_from([b"\x1b$B", b"\x1b(B", b"\x1b)I", b"\x1b$)C", b"^", b"=", b"\xff", b"\x1b", b"A", b"$d"])),
)
def test_never_fails_and_never_shows_controls(label: bytes, pieces: list[bytes]) -> None:
    assert decode(b"".join(pieces), character_sets(label)).isprintable()


@given(st.binary(max_size=40), st.binary(max_size=20))
def test_any_label_any_bytes(label: bytes, raw: bytes) -> None:
    assert "\x1b" not in decode(raw, character_sets(label))


def test_agrees_with_pydicom_on_every_single_byte_set() -> None:
    for term in sorted(t for t in python_encoding if t.startswith("ISO_IR") and t != "ISO_IR 13"):
        for byte in range(0xA1, 0xFF):
            raw = bytes([byte])
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                try:
                    expected = decode_bytes(raw, [python_encoding[term]], set())
                except (UnicodeDecodeError, UserWarning):
                    continue
            assert decode(raw, character_sets(term.encode())) == expected.translate({0x7F: "\ufffd"}), (term, byte)


def test_values_of_several_character_sets_are_read_as_pydicom_reads_them() -> None:
    assert convert_string(b"\\ISO 2022 IR 87", is_little_endian=True) == ["", "ISO 2022 IR 87"]
    assert character_sets(b"\\ISO 2022 IR 87") == ("ascii", "iso2022_jp")
    assert pydicom.__version__
