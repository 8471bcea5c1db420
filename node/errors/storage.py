"""What goes wrong where studies are kept."""

from node.errors.base import LeveretError, Retryable
from node.errors.crypto_keys import IntegrityError


class StoreError(LeveretError):
    """The store failed."""

    code = "store_error"


class StoreClosed(StoreError):
    """The store is closed; the node is stopping."""

    code = "store_closed"
    advice = "Start the node again."
    status = 503


class IndexUnreadable(StoreError):
    """The index cannot be decrypted: its file is damaged, or it belongs to the keys of another node."""

    code = "index_unreadable"
    advice = "Check that --data is the right directory; otherwise restore the index from a backup. Nothing was changed."


class IndexMissing(StoreError):
    """The index of this data directory is gone."""

    code = "index_missing"
    advice = "Restore index.db from a backup: without it the packs cannot be read. Nothing was changed."


class IndexDamaged(StoreError):
    """A page of the index is damaged or was tampered with."""

    code = "index_damaged"
    advice = "Stop the node, keep a copy of the data directory, and restore the index from a backup."


class IndexBusy(Retryable):
    """Another program holds the index."""

    code = "index_busy"
    advice = "Stop whatever else uses this data directory (a second daemon, a backup tool), then try again."


class ConstraintViolated(StoreError):
    """The index refuses a row that contradicts another."""

    code = "constraint_violated"
    status = 409


class DiskFull(Retryable):
    """There is not enough free space on the disk of the data directory."""

    code = "disk_full"
    advice = "Free some space (how much is kept free: [store] reserve) and send again; what is stored stays readable."
    status = 507


class StorageFailed(Retryable):
    """The disk reported an error while writing; what was being stored was not acknowledged."""

    code = "storage_failed"
    advice = "Check the disk (dmesg, smartctl), then send again."


class ObjectDamaged(IntegrityError):
    """A stored object does not pass its integrity check; nothing of it was handed out."""

    code = "object_damaged"
    advice = (
        "Send the same image again (from the PACS or the medium it came from), or ask the facility it came from again:"
        " it then takes the damaged one's place. Otherwise restore the data directory's packs from a backup."
    )


class BlockDamaged(IntegrityError):
    """A compressed block does not hold what its table says."""

    code = "block_damaged"


class CodecUnknown(StoreError):
    """An object is compressed in a way that this version does not know."""

    code = "codec_unknown"
    advice = "Install the version that stored it or a later one; the object is whole."


class PackUnreadable(StoreError):
    """A pack was written in a format that this version does not know, or is not a pack at all."""

    code = "pack_unreadable"
    advice = "Install the version that wrote it or a later one, or restore the file from a backup."


class UnknownInstance(StoreError):
    """This instance is not held here."""

    code = "unknown_instance"
    advice = "List what is held with `leveret studies`."
    status = 404


class UnknownStudy(StoreError):
    """This study is not held here."""

    code = "unknown_study"
    advice = "List what is held with `leveret studies`."
    status = 404


class Withdrawn(StoreError):
    """This was here and has been withdrawn."""

    code = "withdrawn"
    advice = "See `leveret studies --withdrawn` for when and why."
    status = 410


class DigestMismatch(StoreError):
    """What arrived is not what the manifest says."""

    code = "digest_mismatch"
    advice = "Nothing of it was kept. Tell the facility it came from, and ask again."
    status = 409


class TransferIncomplete(StoreError):
    """Not every instance of the manifest has arrived, so the study is not admitted."""

    code = "transfer_incomplete"
    advice = "Resume the transfer."
    status = 409
