"""The portal: enrolling, signing in, acting for somebody, and what patients may not do."""

from node.errors.base import LeveretError


class EnrolmentRefused(LeveretError):
    """This code and date of birth do not go together, or the code is no longer good."""

    code = "enrolment_refused"
    advice = "Compare both with your letter. If it still does not work, ask the facility for a new letter."
    status = 403


class SignInRefused(LeveretError):
    """Signing in did not work."""

    code = "sign_in_refused"
    advice = "Check what you entered. The facility can send you a letter with which you choose a new way to sign in."
    status = 403


class PasskeyRefused(LeveretError):
    """The passkey was not accepted."""

    code = "passkey_refused"
    advice = "Try again; if your device offers another passkey or a passphrase, use that."
    status = 403


class PasskeysUnavailable(LeveretError):
    """Passkeys need the portal to be opened by its name, not by a number address."""

    code = "passkeys_unavailable"
    advice = "Set [api] public_url to an address with a name, or open the portal at http://localhost."
    status = 409


class VerificationNeeded(LeveretError):
    """This needs you to confirm that it is you."""

    code = "verification_needed"
    advice = "Confirm with your passkey or passphrase at /portal/verify, then try again."
    status = 403


class SignInNameTaken(LeveretError):
    """This sign-in name cannot be used."""

    code = "sign_in_name_taken"
    advice = "Choose another one, for instance your e-mail address."
    status = 409


class InvalidSignInName(LeveretError):
    """This cannot be a sign-in name."""

    code = "invalid_sign_in_name"
    advice = "Use 3 to 254 letters, digits and signs without blanks, for instance your e-mail address."
    status = 400


class LastCredential(LeveretError):
    """This is the only way to sign in that is left."""

    code = "last_credential"
    advice = "Add another passkey or a passphrase first."
    status = 409


class UnknownAccount(LeveretError):
    """There is no such portal account."""

    code = "unknown_account"
    advice = "See `leveret portal list`."
    status = 404


class UnknownInvitation(LeveretError):
    """There is no such invitation to the portal."""

    code = "unknown_portal_invitation"
    advice = "See `leveret portal list`."
    status = 404


class NotInvitable(LeveretError):
    """This patient cannot be invited to the portal."""

    code = "not_invitable"
    advice = "The index must hold a study of the patient with a whole date of birth, for it is asked at enrolment."
    status = 409


class InvalidPortalOrder(LeveretError):
    """This cannot be done in the portal as it was asked."""

    code = "invalid_portal_order"
    advice = "See `leveret portal --help` for what can be said."
    status = 400


class InvalidReleaseDelay(LeveretError):
    """A release delay cannot be read."""

    code = "invalid_release_delay"
    advice = "Write [portal] release_delays as CT=72 or REPORT=24: a modality, or REPORT, and whole hours."
    status = 500


class InvalidMailSettings(LeveretError):
    """E-mail cannot be sent with these settings."""

    code = "invalid_mail_settings"
    advice = "Compare [portal] smtp_* and mail_from with node.example.toml."
    status = 500


class MailUndeliverable(LeveretError):
    """The mail server did not take a message."""

    code = "mail_undeliverable"
    advice = "It is tried again; `leveret doctor` and the log say what the server answered."
    status = 503


class MailUnavailable(LeveretError):
    """This facility sends no e-mail."""

    code = "mail_unavailable"
    advice = "An operator sets [portal] smtp_host and mail_from."
    status = 409
