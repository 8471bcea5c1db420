"""Reports for people: nothing is lost, nothing is markup."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from node.dicom.report import MAX_DEPTH, as_html, as_text


def element(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)}


def code(meaning: str) -> dict[str, Any]:
    return element("SQ", {"00080104": element("LO", meaning)})


def item(kind: str, name: str, **values: Any) -> dict[str, Any]:
    tags = {f"{key[1:]}": value for key, value in values.items()}
    return {"0040A040": element("CS", kind), "0040A043": code(name), **tags}


REPORT = {
    "0040A043": code("Chest CT"),
    "00100010": element("PN", {"Alphabetic": "Doe^Jane"}),
    "00100030": element("DA", "19610203"),
    "0040A730": element(
        "SQ",
        item("TEXT", "Finding", _0040A160=element("UT", "A nodule,\n<b>8 mm</b>")),
        item(
            "CONTAINER",
            "Measurements",
            _0040A730=element(
                "SQ",
                item(
                    "NUM",
                    "Diameter",
                    _0040A300=element("SQ", {"0040A30A": element("DS", 8.0), "004008EA": code("mm")}),
                ),
                item("CODE", "Site", _0040A168=code("Left lung")),
                item("IMAGE", "Seen in", _00081199=element("SQ", {})),
                item("PNAME", "Read by", _0040A123=element("PN", {"Alphabetic": "Roe^Dr"})),
                item("DATE", "On", _0040A121=element("DA", "20240131")),
            ),
        ),
        item("NUM", "Volume", _0040A301=code("not measured")),
    ),
}


def test_text() -> None:
    assert as_text(REPORT) == (
        "Chest CT\nPatient: Doe Jane\nBorn: 1961-02-03\n\n"
        "Finding: A nodule,\n<b>8 mm</b>\n"
        "Measurements\n  Diameter: 8 mm\n  Site: Left lung\n  Seen in: [image]\n  Read by: Roe Dr\n  On: 2024-01-31\n"
        "Volume: not measured\n"
    )


def test_html_is_escaped_and_balanced() -> None:
    page = as_html(REPORT)
    assert "&lt;b&gt;8 mm&lt;/b&gt;" in page
    assert page.count("<ul>") == page.count("</ul>") == 2
    assert "<script" not in page


@given(st.text(max_size=40))
def test_whatever_stands_in_a_report_is_text(text: str) -> None:
    tree = {"0040A043": code(text), "00081030": element("LO", text), "0040A730": element("SQ", item("TEXT", text))}
    page = as_html(tree)
    plain = as_html(
        {"0040A043": code("x"), "00081030": element("LO", "x"), "0040A730": element("SQ", item("TEXT", "x"))}
    )
    assert page.count("<") == plain.count("<") or not text.strip()


def test_a_tree_without_end_ends() -> None:
    deep: dict[str, Any] = item("TEXT", "leaf")
    for _ in range(2 * MAX_DEPTH):
        deep = item("CONTAINER", "level", _0040A730=element("SQ", deep))
    assert as_text({"0040A730": element("SQ", deep)}).count("level") == MAX_DEPTH + 1


def test_nonsense_is_left_out() -> None:
    assert as_text({"0040A730": element("SQ", None, 5, {}, {"0040A040": element("CS", "CODE")})}) == "Report\n\n"
