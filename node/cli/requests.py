"""``leveret request``: ask another facility for studies, and follow the request to its end."""

import hashlib
import sys
from typing import Any

import click

from node.cli import show
from node.cli.client import Daemon, DaemonRefused, quoted
from node.cli.command import Session, command
from node.cli.person import check_person, person_options
from node.cli.send import follow, for_people
from node.errors.setup import NotRunning

_MAX_CODE = 256  # characters read of a share code
_MAX_GRANT = 16 * 1024  # characters read of a grant
_CONSENT = ("share_code", "on_file", "grant", "attest", "staff", "emergency")
_FAILED = 1
_ENDED_BADLY = frozenset({"REFUSED", "FAILED"})
# A code that cannot be right never leaves this facility; to whoever waits for the end, that is the end.
_REFUSED_HERE = frozenset({"share_code_malformed", "share_code_mistyped"})


@command("request")
@click.option(
    "--from", "peer", required=True, metavar="PEER", help="Who holds it: PeerId, its first characters, or name."
)
@click.option(
    "--or-from", "others", multiple=True, metavar="PEER", help="Who has it too: asked if PEER is not reached."
)
@click.option("--study", "studies", multiple=True, required=True, metavar="UID-OR-REF", help="May be repeated.")
@click.option("--share-code", metavar="CODE", help="The patient's code; - reads it from standard input.")
@click.option("--on-file", is_flag=True, help="Rely on a directive that the holder has on file.")
@click.option("--grant", type=click.File("r"), metavar="FILE", help="The patient's signed grant.")
@click.option("--attest", type=click.File("rb"), metavar="FORM", help="File of the signed form; with --staff.")
@click.option("--staff", metavar="NAME", help="Who saw the patient sign.")
@click.option("--emergency", metavar="REASON", help="Break-glass: why the patient cannot be asked. Purpose ETREAT.")
@person_options
@click.option(
    "--timeout", type=click.IntRange(1, 86400), default=60, show_default=True, help="Seconds without contact."
)
@click.option("--deliver", metavar="PACS", help="Send what comes to this DICOM system, as the patient --patient-id.")
@click.option("--accession", metavar="NUMBER", help="Local accession number that it gets there.")
@click.option("--wait", is_flag=True, help="Follow it to the end.")
@click.pass_obj
def request(
    session: Session,
    /,
    *,
    peer: str,
    others: tuple[str, ...],
    studies: tuple[str, ...],
    purpose: str,
    timeout: int,
    deliver: str | None,
    accession: str | None,
    wait: bool,
    **who: Any,
) -> int:
    """Ask PEER for studies with the patient's consent: a share code, or one of the other kinds."""
    consent = _consent({key: who.pop(key) for key in _CONSENT})
    if "emergency" in consent:
        purpose = "ETREAT"
    check_person(who, needed=False)
    if deliver and others:
        raise click.UsageError("--deliver needs one facility: leave out --or-from.")
    if deliver and not who["patient_id"]:
        raise click.UsageError("--deliver needs --patient-id: whose study it becomes here.")
    daemon = session.daemon()
    body = {"peer": peer, "studies": list(studies), "purpose": purpose, "timeout": timeout}
    delivery = {"deliver": deliver, "accession": accession}
    try:
        asked = daemon.post("/requests", **body, or_from=list(others) or None, **delivery, **consent, **who)
    except (DaemonRefused, NotRunning) as exc:
        if wait:  # whoever waits for the end is told the end, whatever it is
            session.show(_nothing_came("REFUSED" if exc.code in _REFUSED_HERE else "FAILED", exc.code), lambda _d: None)
        raise
    if not wait:
        session.show(asked, lambda a: click.echo(f"Asked. Follow it with: leveret transfers show {a['request_id']}"))
        return 0
    result = _follow(session, daemon, asked["request_id"])
    if deliver and result["state"] == "COMPLETED":
        return _deliver(session, daemon, result)
    session.show(result, _for_people)
    if result["state"] in _ENDED_BADLY:
        click.echo(show.words(result["code"]), err=True)
    return 0 if result["state"] == "COMPLETED" else _FAILED


def _consent(given: dict[str, Any]) -> dict[str, Any]:
    """The one consent that was given, as the daemon takes it."""
    kinds = [key for key in ("share_code", "on_file", "grant", "attest", "emergency") if given[key]]
    if len(kinds) != 1:
        raise click.UsageError("Give exactly one of --share-code, --on-file, --grant, --attest and --emergency.")
    if bool(given["attest"]) != bool(given["staff"]):
        raise click.UsageError("--attest FORM and --staff NAME go together.")
    if given["share_code"]:
        typed = given["share_code"]
        return {"share_code": sys.stdin.readline(_MAX_CODE).strip() if typed == "-" else typed}
    if given["grant"]:
        return {"grant": given["grant"].read(_MAX_GRANT).strip()}
    if given["attest"]:
        digest = hashlib.file_digest(given["attest"], "sha256").hexdigest()
        return {"attestation": {"form_sha256": digest, "staff": given["staff"]}}
    return {"emergency": given["emergency"]} if given["emergency"] else {"on_file": True}


def _deliver(session: Session, daemon: Daemon, result: dict[str, Any]) -> int:
    """Follow the deliveries of what came; each is waited for until nothing more happens without a person."""
    path = f"/deliveries?request={quoted(result['request_id'])}"
    settled: dict[str, Any] = {}
    while waiting := [d["delivery_id"] for d in daemon.get(path)["deliveries"] if d["delivery_id"] not in settled]:
        for delivery_id in waiting:  # the first to settle tells which studies came, and so which others there are
            settled[delivery_id] = follow(session, daemon, delivery_id)
    found = list(settled.values())

    def shown(document: Any) -> None:
        _for_people(document)
        for delivery in found:
            for_people(delivery)

    session.show({**result, "deliveries": found}, shown)
    for code in dict.fromkeys(d["code"] for d in found if d["code"]):
        click.echo(show.words(code), err=True)
    return 0 if all(d["state"] == "COMPLETED" for d in found) else _FAILED


def _nothing_came(state: str, code: str) -> dict[str, Any]:
    return {"request_id": None, "state": state, "code": code, "instances": 0, "bytes": 0, "wire_bytes": 0, "seconds": 0}


def _follow(session: Session, daemon: Daemon, request_id: str) -> dict[str, Any]:
    path = f"/requests/{quoted(request_id)}"
    with show.Bar("receiving", live=session.live) as bar:
        for event in daemon.events(f"{path}/events"):
            if event["ended"]:
                break
            if event["instances_total"]:
                bar.update(event["bytes_done"], event["bytes_total"], event["instances_done"])
    result: dict[str, Any] = daemon.get(path)
    return _follow(session, daemon, result["continued_as"]) if result["continued_as"] else result


def _for_people(result: Any) -> None:
    if result["state"] == "COMPLETED" and not result["wire_bytes"]:
        click.echo(f"COMPLETED: {show.plural(result['instances'], 'instance')}, all of them held here already.")
    elif result["state"] == "COMPLETED":
        speed = result["bytes"] / max(result["seconds"], 0.001)
        click.echo(
            f"COMPLETED: {show.plural(result['instances'], 'instance')}, {show.size(result['bytes'])}"
            f" in {result['seconds']:.1f} s ({show.size(speed)}/s), verified and signed for."
        )
    elif result["state"] == "REVIEW":
        click.echo("REVIEW: a person at the other facility decides; the transfer then begins by itself.")
    else:
        click.echo(f"{result['state']}.")
