"""Sending a data set as it comes, in fragments that its receiver takes."""

from collections.abc import AsyncIterable, Awaitable, Callable

from node.dicom.upper_layer.machine import Machine

Buffer = bytes | bytearray | memoryview

FRAGMENT_BYTES = 128 * 1024  # to a receiver that takes any: what dcmtk sends at most


async def send_dataset(
    machine: Machine,
    context_id: int,
    pieces: AsyncIterable[Buffer],
    *,
    write: Callable[[bytes], None],
    drain: Callable[[], Awaitable[None]],
) -> None:
    """Send ``pieces`` as one data set. ``write`` raises if the association has ended; ``drain`` waits for room.

    Each piece is read after the next one has been taken: the last fragment must say that it is the last.
    """
    room = machine.fragment_room or FRAGMENT_BYTES
    waiting: Buffer = b""
    async for piece in pieces:
        if len(waiting) % 2:  # fragments have even lengths (PS3.8 annex E), whatever the pieces have
            waiting = bytes(waiting) + bytes(piece)
        elif len(piece):
            if len(waiting):
                write(_fragments(machine, context_id, waiting, room, is_last=False))
                await drain()
            waiting = piece
    write(_fragments(machine, context_id, waiting, room, is_last=True))
    await drain()


def _fragments(machine: Machine, context_id: int, data: Buffer, room: int, *, is_last: bool) -> bytes:
    view = memoryview(data)
    out: list[Buffer] = []
    for at in range(0, max(len(view), 1), room):
        fragment = view[at : at + room]
        ends = is_last and at + room >= len(view)
        out += (machine.dataset_pdu(context_id, len(fragment), is_last=ends), fragment)
    return b"".join(out)
