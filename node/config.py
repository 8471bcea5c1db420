"""``leveret.toml``: every setting, its default, and how the environment overrides it.

``LEVERET_SECTION_KEY`` (upper case) overrides ``[section] key``. An unknown key is an error that names the nearest
known one. ``node.example.toml`` documents every key; a test keeps it equal to the classes here.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from node.errors.setup import InvalidConfig, NotInitialised

CONFIG_NAME = "leveret.toml"


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """[node]: who this node is."""

    name: str = "unnamed facility"
    issuer: str = ""  # Issuer of Patient ID stamped on own studies; empty: derived from the PeerId
    key_file: str = ""  # path of the key file; empty: the key store is protected by a passphrase
    passphrase_file: str = ""  # file whose first line is the passphrase; empty: asked on the terminal


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """[peer]: the protocol between facilities."""

    listen: str = "0.0.0.0:8443"
    advertise: tuple[str, ...] = ()  # host:port (or https URL) that others reach this node at; empty: the listener
    discovery: bool = True  # tell and look for nodes on the local network by zeroconf
    streams: int = 3  # parallel object streams in one transfer


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """[api]: the listener for people and local systems."""

    listen: str = "127.0.0.1:8080"
    public_url: str = (
        ""  # how people reach it (https://HOST[:PORT]), as letters and links say it; empty: by the listener
    )
    tls_certificate: str = ""  # PEM file of what it shows; empty: beyond loopback a certificate that the node makes
    tls_key: str = ""  # PEM file of the certificate's private key, without a password


@dataclass(frozen=True, slots=True)
class DicomSettings:
    """[dicom]: the listener for modalities and the PACS."""

    listen: str = "0.0.0.0:11112"
    ae_title: str = "LEVERET"
    any_called_ae: bool = False  # answer callers that call this node by another title, too
    allow_ae: tuple[str, ...] = ()  # calling AE titles that may store from beyond loopback, TITLE or TITLE@ADDRESS
    max_associations: int = 20
    tls_listen: str = ""  # another address, for DICOM TLS; empty: none
    tls_certificate: str = ""  # PEM file of what this node shows in DICOM TLS; empty: its own identity
    tls_key: str = ""  # PEM file of the certificate's private key, without a password
    tls_client_ca: str = ""  # PEM file: callers by TLS must show a certificate signed by one of these; empty: need not


class Compression(StrEnum):
    """Whether data sets are packed on the disk."""

    AUTO = "auto"  # those that get smaller by it
    OFF = "off"


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """[store]: what is kept."""

    stable_age: int = 60  # quiet seconds that close a revision
    parsers: int = 2  # worker processes that parse DICOM headers
    reserve: int = 256 * 1024 * 1024  # bytes left free on the disk: nothing is taken in below that
    compression: Compression = Compression.AUTO  # lossless; what is stored already stays as it is
    retention_days: int = 0  # own studies are deleted so many days after their last instance came; 0: never
    retention_days_received: int = 0  # likewise studies of other facilities
    retain_free: int = 0  # bytes: with less free, studies of other facilities are deleted, oldest first; 0: never
    retain_free_own: int = 0  # bytes: with less free, own studies are deleted, oldest first; 0: never
    scrub_days: int = 30  # everything that is stored is read and verified once in so many days; 0: never
    hide_poor_quality: bool = True  # what a rejection note calls poor (113001); what is dangerous or wrong always is


@dataclass(frozen=True, slots=True)
class AnnounceSettings:
    """[announce]: what peers are told."""

    interval: int = 60  # seconds between batches
    epoch_days: int = 30  # then every peer's key is destroyed and all is announced anew under another; 0: never
    shared_issuers: tuple[str, ...] = ()  # issuers whose identifiers other facilities know too
    label_detail: bool = False  # put date, description and UID into labels without a consent


@dataclass(frozen=True, slots=True)
class ConsentSettings:
    """[consent]: what share codes may be, and whether break-glass is answered."""

    code_failures: int = 10  # failed proofs that lock a code
    peer_failures: int = 50  # failed proofs a day that lock a peer out of share codes
    link_failures: int = 5  # wrong passcodes that close a link, over its whole life
    emergency_daily: int = 0  # releases a day by break-glass, all peers together; 0: break-glass is off


class SmtpSecurity(StrEnum):
    """How the mail server is spoken to."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"  # a server on this machine alone


@dataclass(frozen=True, slots=True)
class PortalSettings:
    """[portal]: what patients see, and how they are told."""

    release_delay_hours: int = 0  # hours after which patients see a study; 0: at once
    release_delays: tuple[str, ...] = ()  # other delays: CT=72 for a modality, REPORT=24 for reports
    invitation_days: int = 30  # how long a letter is good
    birth_date_failures: int = 5  # wrong dates of birth that lock a letter
    proxy_until_age: int = 18  # a proxy of a child ends at this birthday; 0: only as said
    staff_names: bool = False  # name the staff who looked; else their role alone
    alert_minutes: int = 60  # at most one alert in so many minutes for an account
    smtp_host: str = ""  # mail server for alerts; empty: no e-mail
    smtp_port: int = 587
    smtp_security: SmtpSecurity = SmtpSecurity.STARTTLS
    smtp_user: str = ""
    smtp_password_file: str = ""  # file whose first line is the password
    smtp_ca: str = ""  # PEM file of the authority of the mail server's certificate; empty: the system's
    mail_from: str = ""  # address that alerts come from


@dataclass(frozen=True, slots=True)
class LogSettings:
    """[log]."""

    level: str = "INFO"


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole of ``leveret.toml``."""

    node: NodeSettings = field(default_factory=NodeSettings)
    peer: PeerSettings = field(default_factory=PeerSettings)
    api: ApiSettings = field(default_factory=ApiSettings)
    dicom: DicomSettings = field(default_factory=DicomSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    announce: AnnounceSettings = field(default_factory=AnnounceSettings)
    consent: ConsentSettings = field(default_factory=ConsentSettings)
    portal: PortalSettings = field(default_factory=PortalSettings)
    log: LogSettings = field(default_factory=LogSettings)


def load(data_dir: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Read ``data_dir/leveret.toml`` and the environment.

    Raises:
        NotInitialised: there is no such file.
        InvalidConfig: not TOML, an unknown section or key, or a value of the wrong type.
    """
    path = data_dir / CONFIG_NAME
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise NotInitialised(str(data_dir)) from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise InvalidConfig(f"{path}: {exc}") from exc
    return parse(raw, os.environ if environ is None else environ)


class Origin(StrEnum):
    """Where a setting comes from."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"


def origins(data_dir: Path, environ: Mapping[str, str] | None = None) -> dict[tuple[str, str], Origin]:
    """Of every setting, by section and key; raises as :func:`load`."""
    load(data_dir, environ)
    raw = tomllib.loads((data_dir / CONFIG_NAME).read_text(encoding="utf-8"))
    surroundings = os.environ if environ is None else environ
    found = {}
    for section in fields(Settings):
        for key in fields(getattr(Settings(), section.name)):
            origin = Origin.FILE if key.name in raw.get(section.name, {}) else Origin.DEFAULT
            is_overridden = f"LEVERET_{section.name}_{key.name}".upper() in surroundings
            found[section.name, key.name] = Origin.ENVIRONMENT if is_overridden else origin
    return found


def parse_text(text: str) -> Settings:
    """Settings from the text of a leveret.toml, without the environment; raises InvalidConfig."""
    try:
        return parse(tomllib.loads(text), {})
    except tomllib.TOMLDecodeError as exc:
        raise InvalidConfig(str(exc)) from exc


def parse(raw: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """Settings from a decoded TOML document, overridden by ``LEVERET_SECTION_KEY``."""
    settings = Settings()
    _refuse_unknown(raw, [f.name for f in fields(Settings)], "section")
    for section_field in fields(Settings):
        section = getattr(settings, section_field.name)
        given = raw.get(section_field.name, {})
        if not isinstance(given, Mapping):
            raise InvalidConfig(f"[{section_field.name}] must be a section")
        _refuse_unknown(given, [f.name for f in fields(section)], f"key of [{section_field.name}]")
        values = {}
        for f in fields(section):
            name, default = f"{section_field.name}.{f.name}", getattr(section, f.name)
            override = environ.get(f"LEVERET_{section_field.name}_{f.name}".upper())
            if override is not None:
                values[f.name] = _from_text(name, override, default)
            elif f.name in given:
                values[f.name] = _checked(name, given[f.name], default)
        settings = replace(settings, **{section_field.name: replace(section, **values)})
    return settings


def _refuse_unknown(given: Mapping[str, Any], known: list[str], what: str) -> None:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
            raise InvalidConfig(f"{name!r} is not a {what}{hint}")


def _checked(name: str, value: Any, default: Any) -> Any:
    if isinstance(default, tuple):
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise InvalidConfig(f"{name} must be a list of texts")
    if isinstance(default, StrEnum):
        return _choice(name, value, type(default))
    if type(value) is not type(default):
        raise InvalidConfig(f"{name} must be of type {type(default).__name__}")
    if isinstance(value, int) and value < 0:
        raise InvalidConfig(f"{name} must not be negative")
    return value


def _from_text(name: str, text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text.lower() in {"1", "true", "yes"}:
            return True
        if text.lower() in {"0", "false", "no"}:
            return False
        raise InvalidConfig(f"{name} must be true or false")
    if isinstance(default, int):
        if not text.isascii() or not text.isdigit():
            raise InvalidConfig(f"{name} must be a whole number")
        return int(text)
    if isinstance(default, StrEnum):
        return _choice(name, text, type(default))
    if isinstance(default, tuple):
        return tuple(item.strip() for item in text.split(",") if item.strip())
    return text


def _choice(name: str, value: Any, choices: type[StrEnum]) -> StrEnum:
    try:
        return choices(value)
    except ValueError:
        raise InvalidConfig(f"{name} must be one of {', '.join(choices)}") from None
