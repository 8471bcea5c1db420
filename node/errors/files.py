"""Files that a person names on the command line."""

from node.errors.base import LeveretError


class FileUnreadable(LeveretError):
    """This file cannot be read."""

    code = "file_unreadable"
    advice = "Check that it exists and that this user may read it."
    status = 400


class FileUnwritable(LeveretError):
    """This file cannot be written."""

    code = "file_unwritable"
    advice = "Check the folder, its permissions and the free space."
    status = 400
