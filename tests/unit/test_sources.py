import os
import shutil
import stat
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pydicom
import pytest
from support.datasets import file_of, identity
from support.zoo import brain

from node.dicom import sources
from node.dicom.dicomdir import referenced_files
from node.dicom.sources import RefusedSource, SourceFile, find_sources
from node.errors.dicom import (
    DicomRefused,
    FileTooLarge,
    MissingReferencedFile,
    NotDicom,
    UnreadableSource,
    UnsafeArchive,
)

MEDIA = Path(pydicom.__file__).parent / "data" / "test_files" / "dicomdirtests"
FOLDERS = ("77654033", "98892001", "98892003")  # of the medium whose directory is MEDIA / "DICOMDIR"


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    """A CD as a radiology department burns it: images, a directory, a viewer."""
    root = tmp_path / "cd"
    root.mkdir()
    shutil.copy(MEDIA / "DICOMDIR", root)
    for name in FOLDERS:
        shutil.copytree(MEDIA / name, root / name)
    (root / "viewer.exe").write_bytes(b"MZ" + bytes(200))
    (root / "autorun.inf").write_text("[autorun]")
    return root


def found(*paths: Path) -> tuple[list[SourceFile], list[RefusedSource]]:
    everything = list(find_sources(paths))
    files = [source for source in everything if isinstance(source, SourceFile)]
    return files, [source for source in everything if isinstance(source, RefusedSource)]


def refused_codes(refused: Iterable[RefusedSource]) -> list[str]:
    return [source.error.code for source in refused]


def test_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2.dcm").write_bytes(b"two")
    (tmp_path / "1.dcm").write_bytes(b"one")
    (tmp_path / ".DS_Store").write_bytes(b"litter")
    files, refused = found(tmp_path, tmp_path / "1.dcm", tmp_path / "absent")
    assert [(file.size, file.read()) for file in files] == [(3, b"one"), (3, b"two"), (3, b"one")]
    assert refused_codes(refused) == [UnreadableSource.code]


def test_what_is_no_file_is_refused_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    files, refused = found(tmp_path)
    assert files == []
    assert refused_codes(refused) == [UnreadableSource.code] * 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret").chmod(0)
    _, refused = found(tmp_path)
    (tmp_path / "secret").chmod(stat.S_IRWXU)
    assert refused_codes(refused) == [UnreadableSource.code]


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 10)
    (tmp_path / "large").write_bytes(bytes(11))
    _, refused = found(tmp_path / "large")
    assert refused_codes(refused) == [FileTooLarge.code]


@pytest.mark.parametrize("which", ["folder", "directory file", "zip"])
def test_a_medium_gives_what_its_directory_names(medium: Path, which: str) -> None:
    (medium / "98892001" / "extra").write_bytes(brain()[1])  # not in the directory: incomplete ones are common
    path = {"folder": medium, "directory file": medium / "DICOMDIR", "zip": medium.parent / "cd.zip"}[which]
    if which == "zip":
        _zip(path, {str(p.relative_to(medium.parent)): p.read_bytes() for p in medium.rglob("*") if p.is_file()})
    files, refused = found(path)
    assert refused == []
    assert len(files) == 31 + 1
    assert [file.display_name.rsplit("/", 1)[-1] for file in files][-1] == "extra"
    assert all(file.read()[128:132] == b"DICM" for file in files)


def test_a_medium_in_lower_case_with_versions_and_a_file_missing(medium: Path) -> None:
    names = referenced_files((medium / "DICOMDIR").read_bytes())
    for path in sorted(medium.rglob("*"), reverse=True):
        path.rename(path.with_name(path.name.lower() + (";1" if path.is_file() else "")))
    (medium / "dicomdir;1").rename(medium / "dicomdir")
    gone = medium / Path(*(part.lower() for part in names[3])).with_name(names[3][-1].lower() + ";1")
    gone.unlink()
    files, refused = found(medium)
    assert len(files) == 30
    assert [(source.display_name, type(source.error)) for source in refused] == [
        (f"{medium}/{'/'.join(names[3])}", MissingReferencedFile)
    ]


def test_a_directory_that_cannot_be_read_is_named_and_everything_else_looked_at(medium: Path) -> None:
    (medium / "DICOMDIR").write_bytes(b"scratched")
    files, refused = found(medium)
    assert refused_codes(refused) == [NotDicom.code]
    assert len(files) == 31 + 2  # the viewer's files are refused when they are read as DICOM


@pytest.mark.parametrize("name", ["DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit", "DICOMDIR-reordered"])
def test_directories_in_every_encoding(name: str) -> None:
    names = referenced_files((MEDIA / name).read_bytes())
    assert len(names) == 31
    assert ("77654033", "CR1", "6154") in names


def test_a_directory_cannot_lead_out_of_its_medium(medium: Path) -> None:
    data = (medium / "DICOMDIR").read_bytes()
    (medium / "DICOMDIR").write_bytes(data.replace(b"77654033\\CR1\\6154", b"..\\..\\etc\\passwd "))
    _, refused = found(medium)
    assert refused_codes(refused) == [MissingReferencedFile.code]


def test_an_instance_is_no_directory() -> None:
    with pytest.raises(NotDicom):
        referenced_files(file_of(identity()))


def _zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_archives(tmp_path: Path) -> None:
    path = _zip(tmp_path / "study.zip", {"a/1.dcm": b"one", "__MACOSX/a/._1.dcm": b"x", "../../etc/2\n.dcm": b"two"})
    files, refused = found(tmp_path)
    assert refused == []
    assert [(file.display_name, file.read()) for file in files] == [
        (f"{path}:../../etc/2\ufffd.dcm", b"two"), (f"{path}:a/1.dcm", b"one"),
    ]  # fmt: skip


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "FREE_BYTES", 1 << 20)
    path = _zip(tmp_path / "bomb.zip", {str(n): bytes(1 << 20) for n in range(20)})
    _, refused = found(path)
    assert refused_codes(refused) == [UnsafeArchive.code]
    monkeypatch.setattr(sources, "MAX_MEMBERS", 5)
    assert refused_codes(found(path)[1]) == [UnsafeArchive.code]


def test_overlapping_members_are_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path / "overlap.zip", {"a": os.urandom(5000), "b": b""}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    directory = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", directory + 1)
    data[second + 20 : second + 28] = data[directory + 20 : directory + 28]  # both sizes
    data[second + 42 : second + 46] = data[directory + 42 : directory + 46]  # where it lies
    path.write_bytes(data)
    assert refused_codes(found(path)[1]) == [UnsafeArchive.code]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_without_a_bound_are_refused(tmp_path: Path, method: int) -> None:
    (file,), _ = found(_zip(tmp_path / "x.zip", {"a": bytes(100)}, method))
    with pytest.raises(UnsafeArchive):
        file.read()


def test_damaged_and_encrypted_members_are_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path / "x.zip", {"a": os.urandom(2000)}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)
    with pytest.raises(UnsafeArchive):
        found(path)[0][0].read()
    data[500] ^= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(UnsafeArchive):
        found(path)[0][0].read()


@pytest.mark.parametrize("cut", [10, 100, 1000, 2040])
def test_a_cut_archive_is_refused(tmp_path: Path, cut: int) -> None:
    path = _zip(tmp_path / "x.zip", {"a": os.urandom(2000)}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes()[:cut])
    files, refused = found(path)
    assert files == []
    assert refused_codes(refused) == [UnsafeArchive.code]


def test_every_refusal_says_what_to_do() -> None:
    todo: list[type[DicomRefused]] = [DicomRefused]
    while todo:
        cls = todo.pop()
        todo.extend(cls.__subclasses__())
        assert cls.advice.endswith((".", "`."))
        assert cls.code in {"dicom_refused", *(c.code for c in DicomRefused.__subclasses__())}
