"""A whole node with its PACS: entered by REST, tried, asked by Orthanc, sending to Orthanc."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.ct import CtStudy
from support.dimse import call
from support.pacs import scripted_pacs
from support.peers import Orthanc, free_port, orthanc
from support.running import Running, initialised, running

pytestmark = pytest.mark.peers

STUDY = CtStudy(instances=3, rows=32, seed=51, patient_id="P1", patient_name="Müller^Änne")
SECONDS = 20.0


async def entered(node: Running, name: str, title: str, port: int, **more: Any) -> Any:
    pacs = {"name": name, "ae_title": title, "host": "127.0.0.1", "port": port, **more}
    return await node.done("POST", "/pacs", json=pacs)


async def test_pacs_are_entered_tried_and_removed(tmp_path: Path) -> None:
    async with running(tmp_path / "node") as node:
        with scripted_pacs() as pacs:
            await entered(node, "main", "PACS", pacs.port)
            listed = await node.done("GET", "/pacs")
            assert [(one["name"], one["ae_title"], one["tls"]) for one in listed["pacs"]] == [("main", "PACS", False)]
            assert listed["ae_title"] == "LEVERET"
            for body, status, code in (
                ({"name": "main", "ae_title": "OTHER"}, 409, "pacs_exists"),
                ({"name": "second", "ae_title": "PACS"}, 409, "pacs_exists"),
                ({"name": "second", "ae_title": "A" * 17}, 400, "invalid_pacs"),
                ({"name": "../x", "ae_title": "OTHER"}, 400, "invalid_pacs"),
                ({"name": "second", "ae_title": "OTHER", "calls_from": ["10.0.0.0/99"]}, 400, "invalid_pacs"),
                ({"name": "second", "ae_title": "OTHER", "tls": True, "ca": "none"}, 400, "dicom_tls_unusable"),
            ):
                got, answer = await node.call("POST", "/pacs", json={"host": "127.0.0.1", "port": 104, **body})
                assert (got, answer["code"]) == (status, code), body
            trial = await node.done("POST", "/pacs/main/test")
            found = {one["what"]: (one["ok"], one["said"]) for one in trial["findings"]}
            assert trial["ok"], trial
            assert found["association"][0]
            assert found["CT images"] == (True, "accepted")
            assert found["MR images"] == (False, "not supported")
        trial = await node.done("POST", "/pacs/main/test")
        assert (trial["ok"], trial["code"]) == (False, "dicom_unreachable")
        await node.done("POST", "/pacs/main/remove")
        assert (await node.done("GET", "/pacs"))["pacs"] == []
        assert (await node.call("POST", "/pacs/main/test"))[1]["code"] == "unknown_pacs"
        status, answer = await node.call("GET", "/audit")
        assert status == 200
        changes = [one for one in answer["events"] if one["type"] == "pacs_changed"]
        assert len(changes) == 2


async def test_a_refused_association_is_explained(tmp_path: Path) -> None:
    async with running(tmp_path / "north") as node:
        settings = await asyncio.to_thread(initialised, tmp_path / "south", "south")
        settings = replace(settings, dicom=replace(settings.dicom, ae_title="SOUTH", allow_ae=("CT1",)))
        async with running(tmp_path / "south", settings=settings) as south:
            port = int(south.node.addresses["dicom"].rsplit(":", 1)[1])
            await entered(node, "south", "NORTH", port)
            trial = await node.done("POST", "/pacs/south/test")
            (finding,) = trial["findings"]
            assert (trial["ok"], trial["code"]) == (False, "association_rejected")
            assert "called AE title not recognized" in finding["said"]
            assert "'NORTH'" in finding["advice"]
            await node.done("POST", "/pacs/south/remove")
            await entered(node, "south", "SOUTH", port)
            trial = await node.done("POST", "/pacs/south/test")
            assert trial["ok"], trial
            found = {one["what"]: one["said"] for one in trial["findings"]}
            assert found["C-FIND (Study Root)"] == "refused for this caller"


async def wait_for(answer: Any, wanted: Any) -> Any:
    deadline = time.monotonic() + SECONDS
    while not wanted(found := await asyncio.to_thread(answer)):
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.1)
    return found


def query(peer: Orthanc, level: str, keys: dict[str, str]) -> tuple[str, list[dict[str, str]]]:
    """Orthanc's C-FIND: the id of the query, and its answers."""
    made = peer.rest("POST", "/modalities/leveret/query", {"Level": level, "Query": keys})
    path = f"/queries/{made['ID']}/answers?expand&simplify"
    return str(made["ID"]), peer.rest("GET", path)


async def test_orthanc_asks_and_has_it_sent_to_itself(tmp_path: Path) -> None:
    async with running(tmp_path / "node") as node:
        port = int(node.node.addresses["dicom"].rsplit(":", 1)[1])
        STUDY.write(tmp_path / "files")
        status, said = await call("storescu", "-aec", "LEVERET", "+sd", "127.0.0.1", port, tmp_path / "files")
        assert status == 0, said
        modalities = {"leveret": ["LEVERET", "127.0.0.1", port]}
        with orthanc(tmp_path, "orthanc", DicomModalities=modalities) as peer:
            await entered(node, "orthanc", "ORTHANC", peer.dicom)
            number, found = await asyncio.to_thread(
                query, peer, "Study", {"PatientName": "mull*", "ModalitiesInStudy": "", "StudyDate": ""}
            )
            assert [(one["PatientName"], one["ModalitiesInStudy"]) for one in found] == [("Müller^Änne", "CT")]
            _, found = await asyncio.to_thread(
                query, peer, "Series", {"StudyInstanceUID": STUDY.study_uid, "SeriesDescription": ""}
            )
            assert [one["SeriesDescription"] for one in found] == ["Axial"]
            await asyncio.to_thread(peer.rest, "POST", f"/queries/{number}/answers/0/retrieve", b"ORTHANC")
            held = await wait_for(lambda: peer.rest("GET", "/instances"), lambda found: len(found) == 3)
            tags = await asyncio.to_thread(peer.rest, "GET", f"/instances/{held[0]}/simplified-tags")
            assert tags["PatientName"] == "Müller^Änne"


async def test_the_called_title_and_the_listed_titles_of_the_settings_count(tmp_path: Path) -> None:
    settings = await asyncio.to_thread(initialised, tmp_path / "node", "north")
    title = f"N{free_port()}"
    settings = replace(settings, dicom=replace(settings.dicom, ae_title=title))
    async with running(tmp_path / "node", settings=settings) as node:
        port = node.node.addresses["dicom"].rsplit(":", 1)[1]
        for called, expected in ((title, True), ("ANY-SCP", True), ("LEVERET", False)):
            status, _ = await call("echoscu", "-aec", called, "127.0.0.1", port)
            assert (status == 0) is expected, called
