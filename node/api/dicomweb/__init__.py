"""``/dicom-web``: QIDO-RS, WADO-RS and STOW-RS (PS3.18) for whole studies, series and instances.

Instances are answered as they are stored, byte for byte, behind a file header with an empty preamble; nothing is
transcoded, so whoever asks must accept the stored transfer syntax (``transfer-syntax=*``). Metadata are made by the
parser's worker processes. Every search and every read is an audit event before the first byte leaves.
"""
