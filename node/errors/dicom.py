"""DICOM that cannot be taken in: files, data sets, media and archives."""

from node.errors.base import LeveretError, Retryable


class DicomRefused(LeveretError):
    """This is not a DICOM instance that can be kept."""

    code = "dicom_refused"
    advice = "Export it again from where it came from."
    status = 400


class NotDicom(DicomRefused):
    """This is not a DICOM file."""

    code = "not_dicom"
    advice = "Leave it out; only DICOM files, folders and ZIP archives of them, and DICOM media can be imported."


class NoMetaHeader(DicomRefused):
    """This looks like DICOM but has no preamble and file meta information, so its transfer syntax is unknown."""

    code = "no_meta_header"
    advice = "Export it again as a DICOM file (PS3.10 section 7.1), or convert it: `dcmconv +F FILE NEW`."


class InvalidMetaHeader(DicomRefused):
    """The file meta information (group 0002) cannot be read, or does not name a transfer syntax."""

    code = "invalid_meta_header"
    advice = "Export it again as a DICOM file (PS3.10 section 7.1)."


class Truncated(DicomRefused):
    """The data set ends in the middle of an element: a part of it is missing."""

    code = "truncated"
    advice = "Copy or send it again from where it came from; this copy is incomplete."


class InvalidHeader(DicomRefused):
    """The data set lacks an element that every instance must have, or such an element cannot be read."""

    code = "invalid_header"
    advice = "Every instance needs SOP Class, SOP Instance, Study Instance and Series Instance UID; export it again."


class HeaderTooLarge(DicomRefused):
    """The data set exceeds a limit of this node: elements, nesting, length or inflation."""

    code = "header_too_large"
    advice = "No real image comes near these limits; have the device or software that made it looked at."
    status = 413


class HeaderRefused(DicomRefused):
    """Parsing this data set used more time or memory than any real one; the parser was stopped."""

    code = "header_refused"
    advice = "Do not trust where it came from: it may be made to harm. Nothing else was affected."


class InstanceMismatch(DicomRefused):
    """The data set is another instance than the message that carried it says."""

    code = "instance_mismatch"
    advice = "Have the sending device looked at: SOP Class and SOP Instance UID must agree with the data set's."
    status = 409


class MediaDirectory(DicomRefused):
    """This is a media directory (DICOMDIR), not an instance."""

    code = "media_directory"
    advice = "Import the folder or medium that it belongs to."


class MissingReferencedFile(DicomRefused):
    """The media directory (DICOMDIR) names a file that is not on the medium."""

    code = "missing_referenced_file"
    advice = "Copy the medium again, or ask for a new one; everything else on it was looked at."
    status = 404


class UnreadableSource(DicomRefused):
    """This path cannot be read."""

    code = "unreadable_source"
    advice = "Check that it exists and that this user may read it."
    status = 404


class FileTooLarge(DicomRefused):
    """The file is larger than this node takes in at once."""

    code = "file_too_large"
    advice = "Send it in parts (for example one file a series), or as a multi-frame object of fewer frames."
    status = 413


class UnsafeArchive(DicomRefused):
    """The ZIP archive is damaged, encrypted, or built to fill a disk; nothing of it was unpacked."""

    code = "unsafe_archive"
    advice = "Unpack it with a tool you trust and import the folder."


class NoSuchElement(DicomRefused):
    """The data set has no such element."""

    code = "no_such_element"
    advice = "Use the BulkDataURI exactly as the metadata gives it."
    status = 404


class NoSuchFrame(DicomRefused):
    """The instance has no such frame, or no pixel data at all."""

    code = "no_such_frame"
    advice = "Frames are counted from 1 to Number of Frames (0028,0008)."
    status = 404


class NotDecodable(DicomRefused):
    """The pixel data cannot be decoded: it is damaged, or this node has no decoder for its transfer syntax."""

    code = "not_decodable"
    advice = "Ask for it as it is stored, with transfer-syntax=*."
    status = 406


class NotConvertible(DicomRefused):
    """The receiver takes no form of this instance that can be made of it without losing something."""

    code = "not_convertible"
    advice = "Let the PACS accept its transfer syntax, or retrieve it from this node by DICOMweb."
    status = 406


class NotRenderable(DicomRefused):
    """This instance cannot be shown as a picture or as a document."""

    code = "not_renderable"
    advice = "Retrieve the instance itself, and open it with a program for its kind."
    status = 406


class ParserStopped(Retryable):
    """The DICOM parser is stopping or could not be started."""

    code = "parser_stopped"
    advice = "Try again when the node runs; if it says so often, look for memory limits on the node's service."
