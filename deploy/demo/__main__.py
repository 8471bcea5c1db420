"""``make demo``: three facilities on loopback, real sample studies, one consented transfer.

Everything is done by the public commands; read :func:`main` as the story it tells. ``--once`` ends after the figures.
"""

import argparse
import contextlib
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import check
import studies
from facility import DemoFailed, Facility

DATA = studies.ROOT / "demo-data"
API_PORTS = {"Northfield General": 8181, "Lakeside Clinic": 8182, "St Brigid Imaging": 8183}
PASSPHRASE = "a long demo passphrase"  # noqa: S105 - printed on purpose: loopback only, gone with the demo
DIRECTORIES = {
    "Northfield General": "northfield",
    "Lakeside Clinic": "lakeside",
    "St Brigid Imaging": "brigid",
}


def say(text: str = "") -> None:
    """A line for the person watching."""
    print(text, flush=True)  # noqa: T201 - this is the demo's output


def step(number: int, text: str) -> None:
    """A heading."""
    say(f"\n{number}. {text}")


def main() -> int:
    """Set up, share, verify, show."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the transfer has been verified")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir()
    try:
        with contextlib.ExitStack() as stack:
            north, lake, brigid = (start_facility(name, stack) for name in API_PORTS)
            media = fill(north, lake, brigid)
            pair(north, lake, brigid)
            result, study_uid = share(north, lake, brigid)
            api, token = verify(lake, media, study_uid, result)
            figures(result, (north, lake, brigid), time.monotonic() - started)
            if not options.once:
                linger((north, lake, brigid), api, token)
    except DemoFailed as exc:
        say(f"\nThe demo failed: {exc}")
        return 1
    except KeyboardInterrupt:
        say("\nstopped")
    return 0


def start_facility(name: str, stack: contextlib.ExitStack) -> Facility:
    """A new node, serving until the demo ends."""
    facility = Facility(name, DATA / DIRECTORIES[name])
    facility.init(free_port(API_PORTS[name]))
    stack.enter_context(facility.serving())
    return facility


def free_port(wanted: int) -> int:
    """``wanted`` if nobody listens there, else any (0)."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return 0
    return wanted


def fill(north: Facility, lake: Facility, brigid: Facility) -> Path:
    """Import the sample studies, as from a CD; returns the folder with Northfield's files."""
    step(1, "Each facility imports its own studies (real sample images, invented patients)")
    for facility, sample in ((north, studies.NORTHFIELD), (lake, studies.LAKESIDE), (brigid, studies.BRIGID)):
        folder = DATA / "media" / facility.directory.name
        studies.write_media(sample, folder)
        done = facility.run("import", str(folder), show_progress=sys.stderr.isatty())
        say(f"   {facility.name:20} {done['stored']:3} instances in {len(done['studies'])} studies, encrypted")
    return DATA / "media" / north.directory.name


def pair(north: Facility, lake: Facility, brigid: Facility) -> None:
    """The operators invite each other."""
    step(2, "The facilities pair: an invitation, and the same safety phrase on both sides")
    for inviter, joiner in ((north, lake), (north, brigid), (brigid, lake)):
        invitation = DATA / f"{inviter.directory.name}-{joiner.directory.name}.invitation"
        inviter.run("peers", "invite", "--out", str(invitation), "--expires", "1h", "--auto-confirm")
        joiner.run("peers", "join", str(invitation))
        phrases = [
            peer["safety_phrase"]
            for ours, theirs in ((inviter, joiner), (joiner, inviter))
            for peer in ours.run("peers", "list")["peers"]
            if peer["name"] == theirs.name
        ]
        if len(phrases) != 2 or phrases[0] != phrases[1]:
            raise DemoFailed(f"{inviter.name} and {joiner.name} show different safety phrases")
        say(f"   {inviter.name} + {joiner.name}")
        say(f"     {phrases[0]}")


def share(north: Facility, lake: Facility, brigid: Facility) -> tuple[dict[str, Any], str]:
    """Elena gives a code at Northfield; Lakeside finds her prior and asks for it."""
    step(3, "Elena Garcia leaves Northfield with a share code")
    code = north.run(
        "share-code", "create", "--patient-id", studies.ELENA.patient_id, "--expires", "30d", "--uses", "1"
    )
    say(f"   {code['code']}   (once, 30 days)")

    step(4, "Announcements leave; Lakeside's clinician looks for priors by name, birth date and sex")
    for facility in (north, brigid):
        facility.run("announce")
    found = wait_for_priors(lake, expected=3)
    for peer in found["peers"]:
        for prior in peer["studies"]:
            what = "/".join(prior["modalities"] or ["something"])
            report = ", with report" if prior["report"] else ""
            say(f"   {peer['name']:20} {what}, {prior['instances']} instances{report}: {prior['match']}")
    wanted = next(p for p in found["peers"] if p["name"] == north.name)
    mr = next(s for s in wanted["studies"] if s["modalities"] == ["MR"])

    step(5, "Lakeside asks Northfield for the MR with Elena's code")
    who = ("--name", studies.ELENA.name, "--birth-date", studies.ELENA.birth_date, "--sex", studies.ELENA.sex)
    asked = (
        "request",
        "--from",
        wanted["peer_id"],
        "--study",
        mr["ref"],
        "--share-code",
        "-",
        *who,
        "--wait",
    )
    result = lake.run(*asked, stdin=code["code"] + "\n", show_progress=sys.stderr.isatty())
    megabytes = result["bytes"] / 1e6
    say(f"   {result['state']}: {result['instances']} instances, {megabytes:.1f} MB in {result['seconds']:.2f} s")
    received = [s for s in lake.run("studies")["studies"] if s["origin"]]
    if result["state"] != "COMPLETED" or len(received) != 1:
        raise DemoFailed(f"the request ended as {result['state']} ({result.get('code')})")
    return result, received[0]["study_instance_uid"]


def wait_for_priors(lake: Facility, expected: int) -> dict[str, Any]:
    """Ask until the announcements have arrived (a second or two)."""
    who = ("--name", studies.ELENA.name, "--birth-date", studies.ELENA.birth_date, "--sex", studies.ELENA.sex)
    for _ in range(30):
        found: dict[str, Any] = lake.run("priors", *who)
        if sum(len(p["studies"]) for p in found["peers"]) == expected:
            return found
        time.sleep(0.5)
    raise DemoFailed("the prior was not found")


def verify(lake: Facility, media: Path, study_uid: str, result: dict[str, Any]) -> tuple[str, str]:
    """Compare what arrived with what was imported, and search the disks."""
    step(6, "Check: byte-identical by WADO-RS, and nothing in clear on a disk")
    lake.run("users", "add", "demo", "--role", "clinician", "--password-file", str(password_file()))
    token = lake.run("users", "token", "demo")["token"]
    api = f"http://{lake.run('status')['listen']['api']}"
    sent = {check.dataset_of(f.read_bytes()) for f in (media / "study1").glob("*.dcm")}
    arrived = {check.dataset_of(part) for part in check.retrieve_study(api, token, study_uid)}
    if sent != arrived or len(sent) != result["instances"]:
        raise DemoFailed(f"{len(sent)} data sets were sent, {len(arrived)} came, {len(sent & arrived)} are the same")
    say(f"   {len(sent)} of {len(sent)} data sets are byte-identical")
    secrets = check.Secrets.of_files(media.rglob("*.dcm"))
    clear = [hit for name in ("northfield", "lakeside") for hit in check.find_in_clear(DATA / name, secrets)]
    if clear:
        raise DemoFailed(f"found in clear: {', '.join(clear[:5])}")
    looked_for = f"{len(secrets.texts)} names, ids and UIDs and {len(secrets.pixels)} runs of pixels"
    say(f"   searched both stores for {looked_for}: none found")
    if not lake.run("audit", "verify")["ok"]:
        raise DemoFailed("the audit log does not verify")
    return api, token


def password_file() -> Path:
    """A throw-away password for the demo's user, in a file as the command wants it."""
    path = DATA / "demo-password"
    path.touch(mode=0o600)
    path.write_text(PASSPHRASE + "\n")
    return path


def figures(result: dict[str, Any], facilities: tuple[Facility, ...], seconds: float) -> None:
    """What it took and where the data lies."""
    step(7, "Figures")
    say(f"   transfer: {result['instances']} instances, {result['bytes']} bytes, {result['wire_bytes']} on the wire")
    for facility in facilities:
        held = facility.run("status")
        size = sum(f.stat().st_size for f in facility.directory.rglob("*") if f.is_file())
        holds = f"{held['studies']} studies, {held['instances']} instances, {size / 1e6:.1f} MB"
        say(f"   {facility.name:20} {holds} encrypted in {facility.directory}")
    say(f"   the whole demo: {seconds:.1f} s")


def linger(facilities: tuple[Facility, ...], api: str, token: str) -> None:
    """Keep the nodes up until Ctrl-C."""
    say("\nThe nodes stay up. Look around:")
    for facility in facilities:
        listen = facility.run("status")["listen"]
        say(f"   {facility.name:20} http://{listen['api']}   DICOM {listen['dicom']}   peers {listen['peer']}")
    lake = facilities[1].run("status")["listen"]["api"]
    say(f"\n   {facilities[1].name}'s console: http://{lake}/console/   user demo (clinician), password {PASSPHRASE}")
    say("   look for Garcia, Elena: what came stands beside what other facilities hold")
    letter = facilities[0].run("portal", "invite", "--patient-id", studies.ELENA.patient_id)
    born = letter["birth_date"]
    say(f"\n   Elena's letter for the portal of {facilities[0].name}: {letter['url']}")
    say(f"   code {letter['code']}, date of birth {int(born[6:])} {int(born[4:6])} {born[:4]}")
    say(f"\n   curl -H 'Authorization: Bearer {token}' {api}/dicom-web/studies")
    say(f"   {sys.executable.rsplit('/', 1)[0]}/leveret status --data {facilities[1].directory}")
    say("\nCtrl-C ends it.")
    signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    sys.exit(main())
