"""Which form of frames and pictures an Accept header gets, and what the query parameters of pictures mean."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from node.api.dicomweb.media import choose, frame_form
from node.api.dicomweb.viewing import Viewing, parse_viewing
from node.errors.access import InvalidInput, NotAcceptable

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
JPEG = "1.2.840.10008.1.2.4.50"
RLE = "1.2.840.10008.1.2.5"
OCTETS = "application/octet-stream"
RELATED = "multipart/related; "


@pytest.mark.parametrize(
    ("accept", "stored", "expected"),
    [
        (f"{RELATED}type={OCTETS}; transfer-syntax=*", JPEG, (True, OCTETS, JPEG, False)),
        (f'{RELATED}type="{OCTETS}"', JPEG, (True, OCTETS, EXPLICIT, True)),
        (f'{RELATED}type="{OCTETS}"; transfer-syntax={EXPLICIT}', JPEG, (True, OCTETS, EXPLICIT, True)),
        (f'{RELATED}type="{OCTETS}"', IMPLICIT, (True, OCTETS, EXPLICIT, False)),
        (f'{RELATED}type="image/jpeg"', JPEG, (True, "image/jpeg", JPEG, False)),
        (f'{RELATED}type="image/*"', JPEG, (True, "image/jpeg", JPEG, False)),
        (f'{RELATED}type="image/x-dicom-rle"', RLE, (True, "image/x-dicom-rle", RLE, False)),
        (f'{RELATED}type="image/jp2", {RELATED}type="image/jpeg"', JPEG, (True, "image/jpeg", JPEG, False)),
        (f'{RELATED}type="image/jpeg"; q=0.1, {RELATED}type="{OCTETS}"', JPEG, (True, OCTETS, EXPLICIT, True)),
        (RELATED, JPEG, (True, "image/jpeg", JPEG, False)),
        ("", JPEG, (True, "image/jpeg", JPEG, False)),
        ("*/*", IMPLICIT, (True, OCTETS, EXPLICIT, False)),
        ("image/jpeg", JPEG, (False, "image/jpeg", JPEG, False)),
        (OCTETS, JPEG, (False, OCTETS, EXPLICIT, True)),
        ("*/*", "1.2.3", (True, OCTETS, "1.2.3", False)),
    ],
)
def test_frame_form(accept: str, stored: str, expected: tuple[bool, str, str, bool]) -> None:
    form = frame_form(accept, "", stored, encapsulated=stored not in {IMPLICIT, EXPLICIT}, count=1)
    assert (form.multipart, form.media_type, form.transfer_syntax, form.decoded) == expected


@pytest.mark.parametrize(
    "accept", ["image/png", f'{RELATED}type="image/jp2"', f"{RELATED}type={OCTETS}; transfer-syntax={RLE}"]
)
def test_no_form(accept: str) -> None:
    with pytest.raises(NotAcceptable):
        frame_form(accept, "", JPEG, encapsulated=True, count=1)
    with pytest.raises(NotAcceptable):
        frame_form("image/jpeg", "", JPEG, encapsulated=True, count=2)


@given(st.text(max_size=60))
def test_any_accept_header_is_answered_or_refused(text: str) -> None:
    for stored, encapsulated in ((JPEG, True), (EXPLICIT, False)):
        try:
            form = frame_form(text, "", stored, encapsulated=encapsulated, count=1)
        except NotAcceptable:
            continue
        assert form.transfer_syntax in {stored, EXPLICIT}


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", ("image/jpeg", False)),
        ("", ("image/jpeg", False)),
        ("image/png", ("image/png", False)),
        ("image/png;q=0.2, image/jpeg", ("image/jpeg", False)),
        ("image/avif,image/*;q=0.8", ("image/jpeg", False)),
        ('multipart/related; type="image/png"', ("image/png", True)),
        ("multipart/related", ("image/jpeg", True)),
    ],
)
def test_choose(accept: str, expected: tuple[str, bool]) -> None:
    assert choose(accept, "", ("image/jpeg", "image/png")) == expected
    assert choose("text/html", accept or "*/*", ("image/jpeg", "image/png")) == expected, (
        "the parameter stands for the header"
    )


def test_nothing_to_choose() -> None:
    with pytest.raises(NotAcceptable):
        choose("image/gif, text/html;q=0.1, image/jpeg;q=0", "", ("image/jpeg",))


@pytest.mark.parametrize(
    ("window", "viewport", "quality", "expected"),
    [
        ("", "", "", Viewing()),
        ("40,400", "", "", Viewing((40.0, 400.0, "LINEAR"))),
        ("-0.5,1e3,linear-exact", "", "1", Viewing((-0.5, 1000.0, "LINEAR_EXACT"), None, 1)),
        ("4,0.5,SIGMOID", "", "100", Viewing((4.0, 0.5, "SIGMOID"), None, 100)),
        ("", "256,128", "", Viewing(None, (256, 128, 0, 0, 0, 0))),
        ("", "256,,10,20,-30,40", "", Viewing(None, (256, 0, 10, 20, -30, 40))),
        ("", "256,128,,,,-7.4", "", Viewing(None, (256, 128, 0, 0, 0, -7))),
    ],
)
def test_viewing(window: str, viewport: str, quality: str, expected: Viewing) -> None:
    assert parse_viewing(window, viewport, quality) == expected


@example("00101", 2)
@given(st.text("0123456789,.-+einflarxk ", max_size=30), st.integers(0, 2))
def test_any_parameter_is_understood_or_refused(text: str, which: int) -> None:
    values = ["", "", ""]
    values[which] = text
    try:
        found = parse_viewing(*values)
    except InvalidInput:
        return
    assert 1 <= found.quality <= 100
    assert found.window is None or found.window[1] > 0
    assert found.viewport is None or all(0 <= n <= 16_384 for n in found.viewport[:2])
