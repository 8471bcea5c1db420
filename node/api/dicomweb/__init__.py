"""``/dicom-web``: QIDO-RS, WADO-RS and STOW-RS (PS3.18).

Instances are answered as they are stored, byte for byte, behind a file header with an empty preamble: whoever asks for
one must accept the stored transfer syntax (``transfer-syntax=*``). Frames are answered as stored or decoded (``media``
says which), found by range reads (``node.dicom.frames``). Whatever has to be parsed, decoded or drawn is done by worker
processes. Every search and every read is an audit event before the first byte leaves. ``docs/api.md`` has the details.
"""
