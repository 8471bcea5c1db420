"""What a person sees on a terminal."""

import pytest

from node.cli import show


@pytest.mark.parametrize("columns", [200, 80, 60])
def test_a_bar_leaves_room_for_the_figures(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    progress = show.Bar("receiving", live=True)
    progress.update(2_000_000, 6_000_000, 1234)
    drawn = capsys.readouterr().err.lstrip("\r")  # no terminal: click drops the erasing
    assert len(drawn) < columns
    assert ("[#" in drawn) == (columns > 60), "too narrow for both"
    assert "1234 instances, 2.0 MB of 6.0 MB, " in drawn
    assert drawn.endswith("/s")


def test_nothing_is_drawn_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with show.Bar("receiving", live=False) as progress:
        progress.update(1, 2, 3)
    assert capsys.readouterr() == ("", "")


def test_a_code_becomes_words() -> None:
    assert show.words("disk_full").startswith("There is not enough free space")
    assert show.words("disk_full").endswith("[disk_full]")
    assert show.words("of_a_later_version") == "[of_a_later_version]"
