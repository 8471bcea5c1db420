"""The services before a peer made of bytes: what real programs never send is answered or cut, and the node goes on."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.ct import CtStudy
from support.dicom_peer import CT, EXPLICIT, VERIFICATION, Peer, data, echo_rq, store_rq
from support.dimse import DimseNode, dimse_node
from support.tasks import until

from node.dicom.identifier import encode_elements
from node.dicom.services import COMMITMENT_INSTANCE, STORAGE_COMMITMENT, STUDY_ROOT_FIND, STUDY_ROOT_GET
from node.dicom.upper_layer import pdu
from node.dicom.upper_layer.codes import ContextResult, PduType
from node.dicom.upper_layer.command import (
    CommandField,
    Request,
    decode_message,
    encode_request,
    encode_response,
)
from node.dicom.upper_layer.items import RoleSelection, UserInformation
from node.dicom.upper_layer.limits import MAX_IDENTIFIER_BYTES

FIND, GET, ACTION, STORE, ECHO = 1, 3, 5, 7, 9
STUDY = CtStudy(instances=3, rows=256, seed=61, patient_id="P1")
QUERY = encode_elements({0x00080052: "STUDY", 0x00100020: "P1", 0x0020000D: ""}, EXPLICIT)
NAMED = encode_elements({0x00080052: "STUDY", 0x0020000D: STUDY.study_uid}, EXPLICIT)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DimseNode]:
    async with dimse_node(tmp_path, network_timeout=5.0) as made:
        await made.take(*STUDY.files())
        await made.know("RAW")
        yield made
        async with Peer.connect(made.scp.address) as peer:  # whatever came before
            await associate(peer)
            await peer.send(echo_rq(context_id=ECHO))
            assert (await peer.response()).status == 0
            await peer.release()
        assert "association failed" not in made.logged.getvalue()  # a defect of ours


async def associate(peer: Peer) -> pdu.AssociateAc:
    abstracts = (STUDY_ROOT_FIND, STUDY_ROOT_GET, STORAGE_COMMITMENT, CT, VERIFICATION)
    contexts = tuple(
        pdu.ProposedContext(2 * number + 1, abstract, (EXPLICIT,)) for number, abstract in enumerate(abstracts)
    )
    user = UserInformation(16384, "1.2.3.4", "RAW", roles=(RoleSelection(CT, scu=True, scp=True),))
    await peer.send(pdu.encode(pdu.AssociateRq(pdu.Titles.of("LEVERET", "RAW"), contexts, user)))
    kind, body = await peer.receive()
    assert kind == PduType.ASSOCIATE_AC
    answer = pdu.decode(PduType.ASSOCIATE_AC, memoryview(body))
    assert isinstance(answer, pdu.AssociateAc)
    assert [one.result for one in answer.contexts] == [ContextResult.ACCEPTANCE] * 5
    return answer


def find_rq(message_id: int = 1, *, has_dataset: bool = True, sop_class: str = STUDY_ROOT_FIND) -> bytes:
    return command(FIND, Request(CommandField.C_FIND_RQ, message_id, has_dataset, sop_class))


def get_rq(message_id: int = 1) -> bytes:
    return command(GET, Request(CommandField.C_GET_RQ, message_id, has_dataset=True, sop_class_uid=STUDY_ROOT_GET))


def action_rq(instance: str = COMMITMENT_INSTANCE) -> bytes:
    request = Request(CommandField.N_ACTION_RQ, 1, True, STORAGE_COMMITMENT, instance, type_id=1)
    return command(ACTION, request)


def cancel_rq(context_id: int, message_id: int = 1, *, has_dataset: bool = False) -> bytes:
    return command(context_id, Request(CommandField.C_CANCEL_RQ, message_id, has_dataset))


def command(context_id: int, request: Request) -> bytes:
    return pdu.encode_data(context_id, encode_request(request), is_command=True, max_length=0)


async def aborted(peer: Peer) -> None:
    """Wait for the A-ABORT; what comes before it is of no interest."""
    while (await peer.receive())[0] != PduType.ABORT:
        pass


async def status(peer: Peer) -> int:
    return (await peer.response()).status


async def test_requests_that_make_no_sense_are_answered(node: DimseNode) -> None:
    async with Peer.connect(node.scp.address) as peer:
        await associate(peer)
        for script, expected in (
            (find_rq(has_dataset=False), 0xA900),
            (find_rq(sop_class=STUDY_ROOT_GET) + data(QUERY), 0x0122),
            (find_rq() + data(b""), 0xA900),
            (find_rq() + data(b"\xff" * 100), 0xC000),
            (find_rq() + data(QUERY[:-3]), 0xC000),
            (find_rq() + data(bytes(MAX_IDENTIFIER_BYTES + 2)), 0xA700),
            (get_rq() + data(b"\xff" * 100, context_id=GET), 0xC000),
            (action_rq() + data(b"\xff" * 100, context_id=ACTION), 0x0115),
            (action_rq("1.2.3") + data(QUERY, context_id=ACTION), 0x0112),
            (store_rq(context_id=FIND), 0x0122),
            (store_rq("1.02.3", context_id=STORE) + data(b"ab", context_id=STORE), 0x0117),
            (store_rq(context_id=STORE, sop_class=VERIFICATION) + data(b"ab", context_id=STORE), 0x0122),
            (command(STORE, Request(CommandField.C_FIND_RQ, 1, True, CT)) + data(QUERY, context_id=STORE), 0x0211),
            (command(FIND, Request(0x0150, 1, False, STUDY_ROOT_FIND)), 0x0211),
        ):
            if expected == 0x0122 and script.startswith(store_rq(context_id=FIND)):
                script += data(b"ab")  # noqa: PLW2901 - a C-STORE has a data set
            await peer.send(script)
            assert await status(peer) == expected, (script[:40], hex(expected))
        await peer.send(cancel_rq(FIND, 77))  # of nothing: no answer
        await peer.send(find_rq(9) + data(QUERY))
        kind, _ = await peer.receive()
        assert kind == PduType.P_DATA_TF
        while await status_or_data(peer) != 0:
            pass
        await peer.release()


async def status_or_data(peer: Peer) -> int | None:
    """The status of the next message, or None for a data set."""
    _, body = await peer.receive()
    if not body[5] & pdu.IS_COMMAND:
        return None
    message = decode_message(body[6:])
    return getattr(message, "status", None)


async def test_what_breaks_the_protocol_is_cut(node: DimseNode) -> None:
    for script in (
        get_rq(1) + data(NAMED, context_id=GET) + find_rq(2),  # one at a time
        cancel_rq(FIND, has_dataset=True),
        command_of_response(STORE),
        get_rq(1) + data(NAMED, context_id=GET) + command_of_response(STORE, message_id=99),
        find_rq() + data(QUERY, context_id=GET),
    ):
        async with Peer.connect(node.scp.address) as peer:
            await associate(peer)
            await peer.send(script)
            await aborted(peer)


def command_of_response(context_id: int, message_id: int = 1) -> bytes:
    request = Request(CommandField.C_STORE_RQ, message_id, True, CT, "1.2.3")
    return pdu.encode_data(context_id, encode_response(request, 0), is_command=True, max_length=0)


async def test_a_caller_that_goes_in_the_middle_of_its_retrieval_is_forgotten(node: DimseNode) -> None:
    for number in range(4):
        async with Peer.connect(node.scp.address) as peer:
            await associate(peer)
            await peer.send(get_rq() + data(NAMED, context_id=GET))
            for _ in range(number * 3):
                await peer.receive()
            if number % 2:
                await peer.send(pdu.encode(pdu.Abort()))

    async def forgotten() -> bool:
        return node.logged.getvalue().count("association ended") == 4

    await until(forgotten)


async def test_a_caller_that_does_not_read_is_cut(node: DimseNode) -> None:
    many = CtStudy(instances=24, rows=512, seed=62, patient_id="P2")
    await node.take(*many.files())
    wanted = encode_elements({0x00080052: "STUDY", 0x0020000D: many.study_uid}, EXPLICIT)
    reader, writer = await asyncio.open_connection(*node.scp.address, limit=1024)
    peer = Peer(reader, writer)
    await associate(peer)
    await peer.send(get_rq() + data(wanted, context_id=GET))

    async def cut() -> bool:
        return "association ended" in node.logged.getvalue()

    await until(cut)
    writer.close()


async def test_release_in_the_middle_of_an_operation_ends_it(node: DimseNode) -> None:
    async with Peer.connect(node.scp.address) as peer:
        await associate(peer)
        await peer.send(get_rq() + data(NAMED, context_id=GET) + pdu.encode(pdu.ReleaseRq()))
        while (await peer.receive())[0] != PduType.RELEASE_RP:
            pass


async def test_damaged_requests_are_answered_or_cut(node: DimseNode) -> None:
    scripts = [
        find_rq() + data(QUERY),
        get_rq() + data(NAMED, context_id=GET),
        action_rq() + data(QUERY, context_id=ACTION),
        find_rq() + data(QUERY) + cancel_rq(FIND),
    ]
    chance = random.Random(7)
    for _ in range(60):
        script = bytearray(chance.choice(scripts))
        for _ in range(chance.randrange(1, 5)):
            script[chance.randrange(len(script))] = chance.randrange(256)
        async with Peer.connect(node.scp.address) as peer:
            await associate(peer)
            await peer.send(bytes(script[: chance.randrange(len(script) + 1)]))
            try:
                async with asyncio.timeout(0.05):
                    await peer.receive()
            except (TimeoutError, asyncio.IncompleteReadError):
                continue
