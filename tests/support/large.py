"""An instance that is larger than the Storage SCP keeps in memory."""

from pathlib import Path

import pydicom

from node.dicom.upper_layer.intake import SPOOL_FROM_BYTES
from support.ct import CtStudy, dataset_of


def write_large(folder: Path, seed: int) -> tuple[CtStudy, bytes]:
    """One multi-frame file below ``folder``; returns its facts and its data set."""
    study = CtStudy(instances=1, seed=seed, rows=32_768)
    (path,) = study.write(folder)
    image = pydicom.dcmread(path)
    image.NumberOfFrames = 3
    image.PixelData *= 3
    image.save_as(path)
    dataset = dataset_of(path.read_bytes())
    assert len(dataset) > SPOOL_FROM_BYTES
    return study, dataset
