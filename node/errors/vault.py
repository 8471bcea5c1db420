"""Backups, restored nodes, and keys that are changed."""

from node.errors.base import LeveretError, Retryable


class RestoredFromBackup(LeveretError):
    """This facility's node was restored from a backup, and ended what was under way before."""

    code = "restored_from_backup"
    advice = "Ask again; an operator there looks at every request until consents and peers were looked through."
    status = 410


class RestoreNotReviewed(LeveretError):
    """This node was restored from a backup, and nobody has looked through consents, peers and opt-outs yet."""

    code = "restore_not_reviewed"
    advice = (
        "Look at `leveret peers list`, `consent list`, `users list` and what changed since the backup, then say "
        "`leveret restore --confirm-review`; until then every release waits in the inbox and nothing is announced."
    )
    status = 503


class NothingToReview(LeveretError):
    """This node was not restored from a backup, or everything was looked through already."""

    code = "nothing_to_review"
    advice = "There is nothing to do; see `leveret status`."
    status = 409


class BackupExists(LeveretError):
    """There is something under the name of the backup already."""

    code = "backup_exists"
    advice = "Choose another name, or move the older backup away; nothing was changed."
    status = 409


class BackupUnreadable(LeveretError):
    """This is not a backup of leveret, or a part of it is missing."""

    code = "backup_unreadable"
    advice = (
        "Name the file or folder that `leveret backup` wrote; a backup whose writing was cut short has another name."
    )
    status = 400


class BackupNewer(LeveretError):
    """A later version of leveret wrote this backup."""

    code = "backup_newer"
    advice = "Install that version or a later one; nothing was changed."
    status = 409


class BackupDamaged(LeveretError):
    """The backup is not what was written: a file differs from the manifest, or its node did not sign that."""

    code = "backup_damaged"
    advice = (
        "Take another copy of it. If there is none, `leveret restore --despite-damage` restores what is whole and says "
        "what is not."
    )
    status = 409


class BackupFailed(Retryable):
    """The backup could not be written."""

    code = "backup_failed"
    advice = "Check the disk and the permissions of the folder that it goes to; what was written of it was removed."


class BackupSuperseded(LeveretError):
    """Another backup of this node was begun meanwhile."""

    code = "backup_superseded"
    advice = "Make one backup at a time."
    status = 409


class RestoreTargetInUse(LeveretError):
    """The directory to restore to is not empty."""

    code = "restore_target_in_use"
    advice = "Name a directory that does not exist yet, or an empty one; nothing was changed."
    status = 409


class RotationUnfinished(LeveretError):
    """A change of the master key was cut short."""

    code = "rotation_unfinished"
    advice = "Say `leveret rotate master-key` again: it goes on where it stopped. Everything stays readable meanwhile."
    status = 409


class FeedFrozen(LeveretError):
    """The peer signed two different histories of its feed, so nothing more of it is taken over."""

    code = "feed_frozen"
    advice = (
        "Talk to its operator; the proof is kept. If its node was restored wrongly and repaired, say "
        "`leveret peers thaw PEER`; if nobody can explain it, revoke the peer."
    )
    status = 409


class FeedNotFrozen(LeveretError):
    """The feed of this peer is not frozen."""

    code = "feed_not_frozen"
    advice = "There is nothing to do; see `leveret peers list`."
    status = 409


class BenchFailed(LeveretError):
    """The benchmark could not be run to its end."""

    code = "bench_failed"
    advice = "Look whether the disk is full and nothing else takes the machine; what it had written was removed."


class PortalClosed(Retryable):
    """The portal is closed for now, because this facility is putting its records back in order."""

    code = "portal_closed"
    advice = "Try again tomorrow, or ask the facility."
