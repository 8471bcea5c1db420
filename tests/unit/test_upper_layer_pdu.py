"""PDUs: values to bytes and back, against pynetdicom's, and against whatever bytes there are."""

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE

from node.dicom.upper_layer.codes import PduType
from node.dicom.upper_layer.errors import LocalProtocolError, RemoteProtocolError
from node.dicom.upper_layer.framing import Framer, Piece
from node.dicom.upper_layer.items import (
    AsyncWindow,
    CommonExtendedNegotiation,
    ExtendedNegotiation,
    RoleSelection,
    UserIdentity,
    UserInformation,
)
from node.dicom.upper_layer.limits import MAX_ASSOCIATE_BYTES
from node.dicom.upper_layer.pdu import (
    Abort,
    AssociateAc,
    AssociateRj,
    AssociateRq,
    ContextAnswer,
    ControlPdu,
    ProposedContext,
    ReleaseRp,
    ReleaseRq,
    Titles,
    decode,
    encode,
    encode_data,
)

byte = st.integers(0, 255)
short = st.integers(0, 0xFFFF)
uids = st.lists(st.integers(0, 10**9), min_size=2, max_size=5).map(lambda arcs: ".".join(map(str, arcs)))
names = st.text("ABCZ019_", min_size=1, max_size=16)
titles = st.builds(Titles.of, names, names)
blobs = st.binary(max_size=50)
users = st.builds(
    UserInformation,
    max_length=st.integers(0, 2**32 - 1),
    implementation_class_uid=uids,
    implementation_version=names,
    async_window=st.none() | st.builds(AsyncWindow, short, short),
    roles=st.lists(st.builds(RoleSelection, uids, st.booleans(), st.booleans()), max_size=3).map(tuple),
    extended=st.lists(st.builds(ExtendedNegotiation, uids, blobs), max_size=3).map(tuple),
    common_extended=st.lists(
        st.builds(CommonExtendedNegotiation, uids, uids, st.lists(uids, max_size=3).map(tuple)), max_size=3
    ).map(tuple),
    identity=st.none() | st.builds(UserIdentity, byte, st.booleans(), blobs, blobs),
    identity_response=st.none() | blobs,
)
context_ids = st.integers(0, 127).map(lambda number: 2 * number + 1)
proposals = st.lists(
    st.builds(ProposedContext, context_ids, uids, st.lists(uids, max_size=4).map(tuple)),
    min_size=1, max_size=6, unique_by=lambda context: context.context_id,
).map(tuple)  # fmt: skip
answers = st.lists(st.builds(ContextAnswer, context_ids, byte, uids), min_size=1, max_size=6).map(tuple)
requests = st.builds(AssociateRq, titles, proposals, users, uids, short)
pdus = st.one_of(
    requests,
    st.builds(AssociateAc, titles, answers, users, uids),
    st.builds(AssociateRj, byte, byte, byte),
    st.just(ReleaseRq()),
    st.just(ReleaseRp()),
    st.builds(Abort, byte, byte),
)


def read(data: bytes) -> ControlPdu:
    assert int.from_bytes(data[2:6], "big") == len(data) - 6
    return decode(PduType(data[0]), memoryview(data)[6:])


@given(pdus)
def test_round_trip(pdu: ControlPdu) -> None:
    assert read(encode(pdu)) == pdu


@given(requests)
@settings(max_examples=40)
def test_pynetdicom_reads_what_is_written(request: AssociateRq) -> None:
    request = replace(request, user=replace(request.user, identity_response=None))  # that is an answer's
    theirs = A_ASSOCIATE_RQ()
    theirs.decode(encode(request))
    assert theirs.calling_ae_title == request.titles.calling
    assert [(c.context_id, str(c.abstract_syntax)) for c in theirs.presentation_context] == [
        (c.context_id, c.abstract_syntax) for c in request.contexts
    ]
    assert theirs.user_information.maximum_length == request.user.max_length
    assert len(theirs.user_information.role_selection) == len({role.sop_class_uid for role in request.user.roles})


def test_what_pynetdicom_writes_is_read() -> None:
    from pynetdicom import build_context  # noqa: PLC0415 - beside its only use
    from pynetdicom.pdu_primitives import (  # noqa: PLC0415
        AsynchronousOperationsWindowNegotiation,
        ImplementationClassUIDNotification,
        MaximumLengthNotification,
        SCP_SCU_RoleSelectionNegotiation,
        SOPClassCommonExtendedNegotiation,
        SOPClassExtendedNegotiation,
        UserIdentityNegotiation,
    )

    ct = "1.2.840.10008.5.1.4.1.1.2"
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received, implementation.implementation_class_uid = 16382, "1.2.3"
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 4, 2
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = ct, True, False
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = ct, b"\2\0\3\0\0\0"
    common = SOPClassCommonExtendedNegotiation()
    common.sop_class_uid, common.service_class_uid = ct, "1.2.840.10008.4.2"
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.primary_field, identity.secondary_field = 2, b"who", b"secret"
    identity.positive_response_requested = True
    context = build_context(ct, "1.2.840.10008.1.2.1")
    context.context_id = 1
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "CALLING", "CALLED"
    primitive.presentation_context_definition_list = [context]
    primitive.user_information = [length, implementation, window, role, extended, common, identity]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    request = read(pdu.encode())
    assert isinstance(request, AssociateRq)
    assert (request.titles.called, request.titles.calling) == ("CALLED", "CALLING")
    user = request.user
    assert (user.max_length, user.async_window) == (16382, AsyncWindow(4, 2))
    assert user.roles == (RoleSelection(ct, scu=True, scp=False),)
    assert user.extended == (ExtendedNegotiation(ct, b"\2\0\3\0\0\0"),)
    assert user.common_extended[0].service_class_uid == "1.2.840.10008.4.2"
    assert user.identity == UserIdentity(2, wants_response=True, primary=b"who", secondary=b"secret")
    assert "secret" not in repr(request)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[PduType, bytes]:
    data = bytearray(encode(draw(pdus)))
    kind = PduType(data[0])
    body = data[6:]
    for _ in range(draw(st.integers(1, 5))):
        if not body:
            break
        at = draw(st.integers(0, len(body) - 1))
        match draw(st.integers(0, 2)):
            case 0:
                body[at] = draw(byte)
            case 1:
                del body[at : at + draw(st.integers(1, 9))]
            case 2:
                body[at:at] = draw(st.binary(min_size=1, max_size=9))
    return kind, bytes(body)


@given(damaged())
@settings(max_examples=300)
def test_damage_is_refused_or_read_never_a_crash(pdu: tuple[PduType, bytes]) -> None:
    with contextlib.suppress(RemoteProtocolError):
        encode(decode(pdu[0], memoryview(pdu[1])))


@given(st.sampled_from([kind for kind in PduType if kind is not PduType.P_DATA_TF]), st.binary(max_size=300))
def test_noise_is_refused_or_read_never_a_crash(kind: PduType, body: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        decode(kind, memoryview(body))


@given(st.binary(max_size=300), st.sampled_from([0, 8, 9, 16, 100, 65536]), st.booleans())
def test_data_keeps_to_the_maximum_length_and_comes_back(message: bytes, max_length: int, is_command: bool) -> None:  # noqa: FBT001
    stream = encode_data(3, message, is_command=is_command, max_length=max_length)
    framer = Framer(max_pdu=0)
    framer.space()[: len(stream)] = stream
    framer.filled(len(stream))
    got, ends = b"", 0
    while (frame := framer.next()) is not None:
        assert isinstance(frame, Piece)
        assert (frame.context_id, frame.is_command) == (3, is_command)
        assert not max_length or len(frame.data) + 6 <= max_length
        got += frame.data
        ends += frame.is_last
    assert (got, ends) == (message, 1)


def test_no_room_for_a_fragment_is_our_mistake() -> None:
    with pytest.raises(LocalProtocolError):
        encode_data(1, b"ab", is_command=True, max_length=7)


@pytest.mark.parametrize("head", [
    b"\x01\0" + (MAX_ASSOCIATE_BYTES + 1).to_bytes(4, "big"),
    b"\x02\0\xff\xff\xff\xff",
    b"\x05\0\0\0\0\5",
    b"\x07\0\xff\xff\xff\xff",
    b"\x00\0\0\0\0\4",
    b"\x04\0\0\0\0\5",
    b"\x04\0" + (16384 + 65).to_bytes(4, "big"),
])  # fmt: skip
def test_a_hostile_length_is_refused_by_the_header_alone(head: bytes) -> None:
    framer = Framer(max_pdu=16384)
    framer.space()[:6] = head
    framer.filled(6)
    with pytest.raises(RemoteProtocolError):
        framer.next()


def test_a_pdu_without_end_costs_no_memory() -> None:
    framer = Framer(max_pdu=0)
    head = b"\x04\0" + (0xFFFFFFFF).to_bytes(4, "big") + (0xFFFFFFFF - 4).to_bytes(4, "big") + b"\1\0"
    framer.space()[:12] = head
    framer.filled(12)
    assert isinstance(framer.next(), Piece | None)
    for _ in range(50):
        space = framer.space()
        assert len(space) >= 256 * 1024
        framer.filled(len(space))
        piece = framer.next()
        assert isinstance(piece, Piece)
        assert len(piece.data) == len(space)
        assert framer.next() is None
