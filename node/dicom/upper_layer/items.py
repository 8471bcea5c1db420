"""Items of A-ASSOCIATE-RQ and -AC, and the sub-items of user information (PS3.8 section 9.3, annexes D of 3.7, 3.8).

Lengths must fit exactly. Sub-items of unknown type are ignored, as PS3.7 section D.2 demands of acceptors; those of
known type are read strictly.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from node.dicom.upper_layer.codes import ItemType
from node.dicom.upper_layer.errors import RemoteProtocolError
from node.dicom.upper_layer.limits import MAX_SUB_ITEMS, MAX_UID_BYTES

_HEADER = struct.Struct(">BBH")  # type, reserved, length
_MAX_NAME_BYTES = 16  # Implementation Version Name (PS3.7 section D.3.3.2)


@dataclass(frozen=True, slots=True)
class AsyncWindow:
    """Operations outstanding at a time; 0 is no limit (PS3.7 section D.3.3.3)."""

    invoked: int
    performed: int


@dataclass(frozen=True, slots=True)
class RoleSelection:
    """Which roles the requestor of an association takes for a SOP class (PS3.7 section D.3.3.4)."""

    sop_class_uid: str
    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class ExtendedNegotiation:
    """Service class application information for a SOP class (PS3.7 section D.3.3.5)."""

    sop_class_uid: str
    information: bytes


@dataclass(frozen=True, slots=True)
class CommonExtendedNegotiation:
    """What a SOP class is related to (PS3.7 section D.3.3.6); only requestors say it."""

    sop_class_uid: str
    service_class_uid: str
    related: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """Who the requestor says its user is (PS3.7 section D.3.3.7). Credentials: never shown, never kept."""

    kind: int
    wants_response: bool
    primary: bytes = field(repr=False)
    secondary: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class UserInformation:
    """The user information item. ``max_length``: the longest P-DATA-TF that its sender takes; 0 for any."""

    max_length: int = 0
    implementation_class_uid: str = ""
    implementation_version: str = ""
    async_window: AsyncWindow | None = None
    roles: tuple[RoleSelection, ...] = ()
    extended: tuple[ExtendedNegotiation, ...] = ()
    common_extended: tuple[CommonExtendedNegotiation, ...] = ()
    identity: UserIdentity | None = None
    identity_response: bytes | None = field(default=None, repr=False)


def walk(data: memoryview, most: int) -> Iterator[tuple[int, memoryview]]:
    """The items of ``data``, at most ``most``: type and content.

    Raises:
        RemoteProtocolError: a length does not fit, or there are more.
    """
    at = count = 0
    while at < len(data):
        if len(data) - at < _HEADER.size:
            raise RemoteProtocolError("short item")
        kind, _, length = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        if at + length > len(data):
            raise RemoteProtocolError("item length")
        count += 1
        if count > most:
            raise RemoteProtocolError("too many items")
        yield kind, data[at : at + length]
        at += length


def item(kind: ItemType, content: bytes) -> bytes:
    """One encoded item."""
    return _HEADER.pack(kind, 0, len(content)) + content


def decode_uid(data: memoryview) -> str:
    """A UID as it stands in an item; its grammar is for the negotiation to judge, item by item."""
    raw = bytes(data).rstrip(b"\0 ")
    if len(raw) > MAX_UID_BYTES or not raw.isascii():
        raise RemoteProtocolError("uid")
    return raw.decode("ascii")


def decode_user_information(data: memoryview) -> UserInformation:
    """Read the content of a user information item.

    Raises:
        RemoteProtocolError: a sub-item that cannot be read, or that may be there once and is there twice.
    """
    once: dict[int, memoryview] = {}
    many: dict[int, list[memoryview]] = {kind: [] for kind in _REPEATED}
    for kind, content in walk(data, MAX_SUB_ITEMS):
        if kind in many:
            many[kind].append(content)
        elif kind in once and kind in _SINGLE:
            raise RemoteProtocolError("repeated sub-item")
        else:
            once[kind] = content
    name = once.get(ItemType.IMPLEMENTATION_VERSION)
    window = once.get(ItemType.ASYNCHRONOUS_OPERATIONS)
    identity = once.get(ItemType.USER_IDENTITY_RQ)
    response = once.get(ItemType.USER_IDENTITY_AC)
    return UserInformation(
        max_length=_number(once[ItemType.MAXIMUM_LENGTH]) if ItemType.MAXIMUM_LENGTH in once else 0,
        implementation_class_uid=decode_uid(once.get(ItemType.IMPLEMENTATION_CLASS_UID, memoryview(b""))),
        implementation_version="" if name is None else _name(name),
        async_window=None if window is None else AsyncWindow(*_unpack(">HH", window)),
        roles=tuple(map(_role, many[ItemType.ROLE_SELECTION])),
        extended=tuple(map(_extended, many[ItemType.EXTENDED_NEGOTIATION])),
        common_extended=tuple(map(_common_extended, many[ItemType.COMMON_EXTENDED_NEGOTIATION])),
        identity=None if identity is None else _identity(identity),
        identity_response=None if response is None else bytes(_Fields(response).sized_to_end()),
    )


def encode_user_information(user: UserInformation) -> bytes:
    """The content of a user information item, sub-items in the order of their types."""
    parts = [item(ItemType.MAXIMUM_LENGTH, struct.pack(">I", user.max_length))]
    if user.implementation_class_uid:
        parts.append(item(ItemType.IMPLEMENTATION_CLASS_UID, user.implementation_class_uid.encode("ascii")))
    if user.async_window is not None:
        window = struct.pack(">HH", user.async_window.invoked, user.async_window.performed)
        parts.append(item(ItemType.ASYNCHRONOUS_OPERATIONS, window))
    parts.extend(
        item(ItemType.ROLE_SELECTION, _sized(role.sop_class_uid.encode("ascii")) + bytes((role.scu, role.scp)))
        for role in user.roles
    )
    if user.implementation_version:
        parts.append(item(ItemType.IMPLEMENTATION_VERSION, user.implementation_version.encode("ascii")))
    parts.extend(
        item(ItemType.EXTENDED_NEGOTIATION, _sized(one.sop_class_uid.encode("ascii")) + one.information)
        for one in user.extended
    )
    parts.extend(_encode_common(one) for one in user.common_extended)
    if user.identity is not None:
        who = user.identity
        head = bytes((who.kind, who.wants_response))
        parts.append(item(ItemType.USER_IDENTITY_RQ, head + _sized(who.primary) + _sized(who.secondary)))
    if user.identity_response is not None:
        parts.append(item(ItemType.USER_IDENTITY_AC, _sized(user.identity_response)))
    return b"".join(parts)


_REPEATED = (ItemType.ROLE_SELECTION, ItemType.EXTENDED_NEGOTIATION, ItemType.COMMON_EXTENDED_NEGOTIATION)
_SINGLE = frozenset({
    ItemType.MAXIMUM_LENGTH, ItemType.IMPLEMENTATION_CLASS_UID, ItemType.IMPLEMENTATION_VERSION,
    ItemType.ASYNCHRONOUS_OPERATIONS, ItemType.USER_IDENTITY_RQ, ItemType.USER_IDENTITY_AC,
})  # fmt: skip


class _Fields:
    """Reads fields off the front of a sub-item."""

    def __init__(self, data: memoryview) -> None:
        self._rest = data

    def take(self, count: int) -> memoryview:
        if count > len(self._rest):
            raise RemoteProtocolError("sub-item length")
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def sized(self) -> memoryview:
        """A field whose length, two bytes, stands before it."""
        return self.take(int.from_bytes(self.take(2), "big"))

    def sized_to_end(self) -> memoryview:
        taken = self.sized()
        self.end()
        return taken

    @property
    def more(self) -> bool:
        return bool(self._rest)

    def rest(self) -> memoryview:
        return self.take(len(self._rest))

    def end(self) -> None:
        if self._rest:
            raise RemoteProtocolError("sub-item length")


def _unpack(layout: str, data: memoryview) -> tuple[int, ...]:
    if len(data) != struct.calcsize(layout):
        raise RemoteProtocolError("sub-item length")
    return struct.unpack(layout, data)


def _number(data: memoryview) -> int:
    return _unpack(">I", data)[0]


def _name(data: memoryview) -> str:
    raw = bytes(data).rstrip(b"\0 ")
    if len(raw) > _MAX_NAME_BYTES:
        raise RemoteProtocolError("implementation version name")
    return raw.decode("ascii", "replace")


def _role(data: memoryview) -> RoleSelection:
    fields = _Fields(data)
    uid = decode_uid(fields.sized())
    scu, scp = fields.take(2)
    fields.end()
    if scu > 1 or scp > 1:
        raise RemoteProtocolError("role")
    return RoleSelection(uid, bool(scu), bool(scp))


def _extended(data: memoryview) -> ExtendedNegotiation:
    fields = _Fields(data)
    return ExtendedNegotiation(decode_uid(fields.sized()), bytes(fields.rest()))


def _common_extended(data: memoryview) -> CommonExtendedNegotiation:
    fields = _Fields(data)
    sop_class, service_class = decode_uid(fields.sized()), decode_uid(fields.sized())
    listed, related = _Fields(fields.sized()), []
    while listed.more:
        related.append(decode_uid(listed.sized()))
    return CommonExtendedNegotiation(sop_class, service_class, tuple(related))  # what follows is reserved


def _identity(data: memoryview) -> UserIdentity:
    fields = _Fields(data)
    kind, wants_response = fields.take(2)
    identity = UserIdentity(kind, bool(wants_response), bytes(fields.sized()), bytes(fields.sized()))
    fields.end()
    return identity


def _sized(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def _encode_common(one: CommonExtendedNegotiation) -> bytes:
    related = b"".join(_sized(uid.encode("ascii")) for uid in one.related)
    head = _sized(one.sop_class_uid.encode("ascii")) + _sized(one.service_class_uid.encode("ascii"))
    return item(ItemType.COMMON_EXTENDED_NEGOTIATION, head + _sized(related))
