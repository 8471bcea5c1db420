"""Keys that are missing or wrong, and ciphertext that does not verify."""

from node.errors.base import LeveretError, Retryable


class IntegrityError(LeveretError):
    """Stored data is not what was stored."""

    code = "integrity_error"
    advice = "Nothing of it was used. Restore it from a backup or from the facility it came from, and check the disk."


class DamagedCiphertext(IntegrityError):
    """Encrypted data is damaged, cut off or exchanged."""

    code = "ciphertext_damaged"


class WrongKeyOrDamaged(IntegrityError):
    """Encrypted data does not open: another key or another place was meant, or it is damaged."""

    code = "wrong_key_or_damaged"


class KeyStoreMissing(LeveretError):
    """The file with this node's wrapped keys is missing or cannot be read."""

    code = "keystore_missing"
    advice = (
        "Check its permissions, or restore keys.json from a backup; without it the store cannot be read by anybody."
    )


class KeyStoreExists(LeveretError):
    """There is a file with wrapped keys already."""

    code = "keystore_exists"
    advice = "Nothing was changed; replacing it would make everything stored unreadable."
    status = 409


class KeyStoreDamaged(LeveretError):
    """The file with this node's wrapped keys is damaged or was tampered with."""

    code = "keystore_damaged"
    advice = "Restore keys.json from a backup; the key file or the passphrase stays the same."


class KeyStoreNewer(LeveretError):
    """A newer version of leveret wrote this node's keys."""

    code = "keystore_newer"
    advice = "Install that version or a later one; nothing was changed."
    status = 409


class KeyStoreUnwritable(LeveretError):
    """The file with this node's wrapped keys, or its key file, cannot be written."""

    code = "keystore_unwritable"
    advice = "Check the directory's permissions and the free space."


class OtherProtection(LeveretError):
    """This node's keys are protected in another way than the one that was offered."""

    code = "other_protection"
    advice = "Give what `init` was given: the key file, the passphrase file, or the systemd credential."
    status = 400


class KeyFileMissing(LeveretError):
    """The key file is not there or cannot be read."""

    code = "key_file_missing"
    advice = "Mount or restore it, or name the right one in leveret.toml (key_file); without it nothing can be read."
    status = 400


class KeyFileMalformed(LeveretError):
    """This is not a key file of leveret."""

    code = "key_file_malformed"
    advice = "Name the file that `leveret init` made; it begins with `leveret-key 1`."
    status = 400


class KeyFileExposed(LeveretError):
    """The key file can be read by everybody on this machine."""

    code = "key_file_exposed"
    advice = "Run `chmod 600` on it, and think about who may have copied it."
    status = 400


class WrongKeyFile(LeveretError):
    """This key file belongs to another node."""

    code = "wrong_key_file"
    advice = "Name the key file that was made for this data directory."
    status = 400


class WrongPassphrase(LeveretError):
    """The passphrase is wrong."""

    code = "wrong_passphrase"
    advice = "Try again; look at the keyboard layout, and at blanks at the ends of the passphrase file."
    status = 400


class PassphraseUnusable(LeveretError):
    """The passphrase file cannot be read, is empty or is far too long."""

    code = "passphrase_unusable"
    advice = "Put the passphrase on one line of a file that only the service can read."
    status = 400


class PassphraseMemory(Retryable):
    """There is not enough free memory to check the passphrase."""

    code = "passphrase_memory"
    advice = "Free some memory (checking takes 256 MiB for a second) and try again."
