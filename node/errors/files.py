"""Files that a person names on the command line."""

from node.errors.base import LeveretError


class FileUnreadable(LeveretError):
    """This file cannot be read."""

    code = "file_unreadable"
    advice = "Check that it exists and that this user may read it."
    status = 400


class FileExists(LeveretError):
    """There is a file of that name already, and it is not replaced."""

    code = "file_exists"
    advice = "Choose another name, or remove that file first."
    status = 409


class FileUnwritable(LeveretError):
    """This file cannot be written."""

    code = "file_unwritable"
    advice = "Check the folder, its permissions and the free space."
    status = 400
