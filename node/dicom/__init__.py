"""The dicom room."""
