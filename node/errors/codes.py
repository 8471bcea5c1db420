"""Share codes that cannot be read. What a readable code may do is decided elsewhere."""

from node.errors.base import LeveretError


class ShareCodeMalformed(LeveretError):
    """This is not a share code."""

    code = "share_code_malformed"
    advice = "A code has 20 letters and digits in five groups of four; copy all of it, or scan the QR code."
    status = 400


class ShareCodeMistyped(ShareCodeMalformed):
    """The share code is mistyped: its check character does not fit."""

    code = "share_code_mistyped"
    advice = "Compare it with the patient's paper and type it again; nothing was sent to the other facility."
