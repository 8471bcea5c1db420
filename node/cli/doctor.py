"""``leveret doctor``: what is wrong with this node, and what to do."""

import time
from typing import Any

import click

from node.cli import show
from node.cli.client import Daemon
from node.cli.command import Session, command

_POLL_SECONDS = 0.2
_DAMAGE = (
    "of study {ref} {objects} objects do not verify: {flaw}. Restore packs/ from a backup, or delete the study and "
    "have it sent again {by} (leveret studies --damaged says which it is) [object_damaged]"
)


@command("doctor")
@click.option(
    "--deep", is_flag=True, help="Read and verify every stored object too; takes as long as reading the disk."
)
@click.pass_obj
def doctor(session: Session, *, deep: bool) -> int:
    """Check clock, disk, keys, ports, peers and log; works without the daemon too."""
    from node.app.doctor import Finding, examine  # noqa: PLC0415 - opens the whole store, so only when needed

    findings, is_running, damaged = examine(session.data, deep=deep)
    if is_running:
        daemon = session.daemon()
        findings += [Finding(*found) for found in _ask(daemon)]
        if deep:
            damaged = _verify(daemon, live=session.live)
    if deep:
        findings += [Finding("objects", _words(one)) for one in damaged] or [Finding("objects")]
    document = {
        "running": is_running,
        "checks": [{"check": f.check, "ok": not f.problem, "problem": f.problem} for f in findings],
    }
    session.show(document, _for_people)
    return 1 if any(f.problem for f in findings) else 0


def _words(one: Any) -> str:
    by = "with leveret request" if one["origin"] else "by the PACS"
    return _DAMAGE.format(ref=one["ref"], objects=one["objects"], flaw=one["flaw"].replace("_", " "), by=by)


def _ask(daemon: Daemon) -> list[tuple[str, str]]:
    """What only the running daemon can tell."""
    proof = daemon.post("/audit/verification")
    found = [("log", "" if proof["ok"] else f"{proof['problems'][0]} [audit_damaged]")]
    if daemon.get("/restoration")["restoration"]:
        found.append(("restore", show.words("restore_not_reviewed")))
    forks = daemon.get("/feeds/forks")["forks"]
    found += [(f"feed {fork['peer_id'][:7]}", show.words("feed_frozen")) for fork in forks]
    for peer in daemon.get("/peers")["peers"]:
        if peer["trust"] != "TRUSTED":
            continue
        away = (
            f"{show.printable(peer['name'])} is out of reach at {show.printable(peer['addresses'])} [{peer['problem']}]"
        )
        found.append((f"peer {peer['peer_id'][:7]}", "" if peer["connected"] else away))
    return found


def _verify(daemon: Daemon, *, live: bool) -> list[Any]:
    """Have the daemon read everything; what is damaged."""
    state = daemon.post("/scrub")
    with show.Bar("verifying", live=live) as bar:
        while state["running"]:
            bar.update(state["bytes"], state["total_bytes"], state["objects"])
            time.sleep(_POLL_SECONDS)
            state = daemon.get("/scrub")
    damaged: list[Any] = state["damaged"]
    return damaged


def _for_people(document: Any) -> None:
    click.echo("The daemon is running." if document["running"] else "The daemon is not running.")
    for check in document["checks"]:
        if check["ok"]:
            click.echo(f"  ok  {check['check']}")
        else:
            click.secho(f"  !!  {check['check']}: {check['problem']}", fg="red")
