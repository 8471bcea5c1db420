"""Sample media for the demo: real images from public test data, filed under invented patients.

Sources: pydicom's own test files and the PyPI package pydicom-data (both MIT), and a 20-slice MR series committed under
``tests/data/brain_mr`` (its licence stands beside it). Pixels are untouched; name, id, birth date and sex are replaced,
because anonymised files have none and a prior is found by them.
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Person:
    """An invented patient."""

    patient_id: str
    name: str
    birth_date: str
    sex: str


@dataclass(frozen=True)
class Study:
    """One study to put on the sample media."""

    person: Person
    date: str
    description: str
    body_part: str
    files: tuple[str, ...]  # names that pydicom finds in its test data; "brain_mr/" is the committed series


ELENA = Person("NG-20417", "Garcia^Elena", "19680412", "F")
ELENA_ELSEWHERE = Person("LC-0093", "GARCIA^ELENA", "19680412", "F")  # the other facility's id for the same person
OTTO = Person("NG-11002", "Müller^Otto", "19511230", "M")
AIKO = Person("LC-0512", "Yamada^Aiko", "19900303", "F")
SAM = Person("SB-77", "O'Brien^Sam", "19831104", "M")

NORTHFIELD = (
    Study(ELENA, "20240316", "MR brain", "BRAIN", ("brain_mr/",)),
    Study(ELENA, "20250902", "CT chest", "CHEST", ("693_UNCR.dcm", "693_J2KR.dcm", "test-SR.dcm")),
    Study(OTTO, "20231120", "CT head perfusion", "HEAD", ("eCT_Supplemental.dcm",)),
)
LAKESIDE = (Study(AIKO, "20260110", "Echocardiogram", "HEART", ("examples_ybr_color.dcm",)),)
BRIGID = (
    Study(ELENA_ELSEWHERE, "20220607", "US abdomen", "ABDOMEN", ("OBXXXX1A.dcm",)),
    Study(SAM, "20250228", "MR abdomen", "ABDOMEN", ("MR-SIEMENS-DICOM-WithOverlays.dcm",)),
)


def write_media(studies: Iterable[Study], folder: Path) -> list[str]:
    """Write the studies as Part 10 files below ``folder``; returns their Study Instance UIDs in order."""
    uids = []
    for number, study in enumerate(studies, 1):
        target = folder / f"study{number}"
        target.mkdir(parents=True)
        uids.append(_write_study(study, target))
    return uids


def _write_study(study: Study, target: Path) -> str:
    study_uid = str(generate_uid())
    for number, source in enumerate(_sources(study.files), 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # test data is odd on purpose
            ds = pydicom.dcmread(source)
            ds.SpecificCharacterSet = "ISO_IR 192"
            ds.PatientName, ds.PatientID = study.person.name, study.person.patient_id
            ds.PatientBirthDate, ds.PatientSex = study.person.birth_date, study.person.sex
            ds.StudyInstanceUID, ds.StudyDate = study_uid, study.date
            ds.StudyDescription, ds.BodyPartExamined = study.description, study.body_part
            ds.SOPInstanceUID = generate_uid()
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            for stray in list(ds.group_dataset(0x0000)):  # the MR series has one; pydicom would not write it
                del ds[stray.tag]
            ds.save_as(target / f"{number:03}.dcm")
    return study_uid


def _sources(names: Iterable[str]) -> Iterable[Path]:
    for name in names:
        if name.endswith("/"):
            yield from sorted((ROOT / "tests/data" / name).glob("*.dcm"))
            continue
        found = get_testdata_file(name, download=False)
        if found is None:
            raise FileNotFoundError(name)
        yield Path(str(found))
