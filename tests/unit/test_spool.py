"""Scratch files: what is read is what was written, and nothing of it stands on the disk."""

import io
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.errors.crypto_keys import DamagedCiphertext
from node.store.spool import Spool

SIZES = st.sampled_from([0, 1, 100, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 700_000])


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=SIZES,
    cuts=st.lists(st.integers(1, 300_000), max_size=5),
    at=st.integers(0, 800_000),
    length=st.integers(0, 600_000),
)
def test_any_range_reads_as_it_was_written(tmp_path: Path, size: int, cuts: list[int], at: int, length: int) -> None:
    data = os.urandom(size)
    with Spool(tmp_path) as spool:
        start = 0
        for cut in [*cuts, size]:
            spool.add(data[start : start + cut])
            start += cut
        assert spool.size == size
        reader = io.BufferedReader(spool.reader())
        assert reader.seek(0, os.SEEK_END) == size
        reader.seek(at)
        assert reader.read(length) == data[at : at + length]


def test_it_has_no_name_and_shows_nothing(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.add(b"Testperson^Conny" * 50_000)
        spool.reader()
        assert list(tmp_path.iterdir()) == []
        raw = os.pread(spool._file.fileno(), 1 << 20, 0)
        assert b"Testperson" not in raw
        assert len(raw) > 800_000


def test_an_archive_can_be_read_from_it(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b", b"x" * 1_000_000)
    with Spool(tmp_path) as spool:
        spool.add(packed.getvalue())
        with zipfile.ZipFile(io.BufferedReader(spool.reader())) as archive:
            assert archive.read("a/b") == b"x" * 1_000_000


def test_a_disk_that_gives_back_something_else_is_noticed(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.add(b"x" * 300_000)
        reader = spool.reader()
        os.pwrite(spool._file.fileno(), b"\0", 100)
        with pytest.raises(OSError, match="changed"):
            reader.read(10)
        assert not issubclass(DamagedCiphertext, OSError), "it was turned into what readers of files expect"
