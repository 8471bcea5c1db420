"""Instances as Part 10 files, alone or as the parts of a multipart body: as stored, or in another transfer syntax."""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from node.api.dicomweb.accept import DICOM, Form
from node.api.dicomweb.ahead import read_ahead
from node.api.dicomweb.retrieval import closing, part_head
from node.dicom.outgoing import Copies
from node.dicom.part10 import part10_header
from node.errors.access import NotAcceptable
from node.errors.dicom import NotConvertible, NotDecodable
from node.model.ids import TransferSyntaxUID
from node.model.instance import StoredInstance
from node.store.objects import ObjectStore

Part = tuple[StoredInstance, TransferSyntaxUID]  # and in which transfer syntax it is answered


@dataclass(frozen=True, slots=True)
class Plan:
    """What is answered, and whether as multipart/related."""

    multipart: bool
    parts: Sequence[Part]


def plan_answer(found: Sequence[StoredInstance], forms: Sequence[Form]) -> Plan:
    """The best accepted form that there is for each instance.

    Raises:
        NotAcceptable: there is none for any of them.
    """
    if len(found) > 1 and not any(form.multipart for form in forms):
        raise NotAcceptable("several instances come as multipart/related")
    for multipart in dict.fromkeys(form.multipart for form in forms if form.multipart or len(found) == 1):
        usable = [form for form in forms if form.multipart == multipart]
        parts = [part for instance in found if (part := _part(instance, usable)) is not None]
        if parts:
            return Plan(multipart, parts)
    raise NotAcceptable


def _part(instance: StoredInstance, forms: Sequence[Form]) -> Part | None:
    targets = (form.target(instance.header.transfer_syntax_uid) for form in forms)
    target = next((target for target in targets if target is not None), None)
    return None if target is None else (instance, target)


def stored_length(parts: Sequence[Part], boundary: str) -> int | None:
    """Bytes of the whole answer; None where something has to be converted first."""
    if any(target != instance.header.transfer_syntax_uid for instance, target in parts):
        return None
    end = len(closing(boundary)) if boundary else 0
    return sum(len(_head(*part, boundary)) + part[0].size for part in parts) + end


class Files:
    """Writes them."""

    def __init__(self, store: ObjectStore, copies: Copies) -> None:
        self._store = store
        self._copies = copies

    async def pieces(self, parts: Sequence[Part], boundary: str) -> AsyncGenerator[bytes, None]:
        """Files one after the other; with a boundary as the parts of a multipart body.

        Raises:
            NotAcceptable: one cannot be converted after all.
            ObjectDamaged, DicomRefused: one is not what it should be.
        """
        async with contextlib.aclosing(read_ahead(self._store, [instance for instance, _ in parts])) as instances:
            targets = iter(parts)
            async for begun in instances:
                instance, target = next(targets)
                yield _head(instance, target, boundary)
                if target == instance.header.transfer_syntax_uid:
                    async for piece in begun.pieces():
                        yield piece
                    continue
                try:
                    copy = await self._copies.prepare(begun.reader, instance.header, target, None)
                except (NotConvertible, NotDecodable) as exc:
                    raise NotAcceptable(exc.fact) from exc
                async for piece in copy.chunks():
                    yield piece
        if boundary:
            yield closing(boundary)


def _head(instance: StoredInstance, target: TransferSyntaxUID, boundary: str) -> bytes:
    """What stands before a data set."""
    header = instance.header
    file = part10_header(
        instance.file_meta if target == header.transfer_syntax_uid else b"",
        sop_class_uid=header.sop_class_uid,
        sop_instance_uid=header.sop_instance_uid,
        transfer_syntax_uid=target,
    )
    return (part_head(boundary, f"{DICOM}; transfer-syntax={target}") if boundary else b"") + file
