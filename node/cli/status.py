"""``leveret status``, ``id`` and ``studies``: what is here."""

import time
from typing import Any

import click

from node.cli import show
from node.cli.command import Session, command

_SOON_SECONDS = 21 * 86400  # before the end of a certificate


@command("status")
@click.pass_obj
def status(session: Session) -> None:
    """What the node holds, whom it trusts, what is moving, what is wrong."""

    def for_people(s: Any) -> None:
        click.secho(show.printable(s["name"]), bold=True)
        click.echo(f"  {s['peer_id']}")
        held = (
            f"{show.plural(s['studies'], 'study')}, {show.plural(s['instances'], 'instance')}, {show.size(s['bytes'])}"
            f" in {show.size(s['disk_bytes'])}"
        )
        click.echo(f"  holds      {held}" + (f", {s['quarantined']} in quarantine" if s["quarantined"] else ""))
        click.echo(f"  peers      {s['peers']['trusted']} trusted, {s['peers']['connected']} connected")
        click.echo(f"  transfers  {s['transfers']['active']} active, {s['transfers']['suspended']} suspended")
        click.echo(f"  inbox      {show.plural(s['inbox'], 'request')} to decide")
        dicom = "".join(f", DICOM TLS {s['listen'][name]}" for name in ("dicom-tls",) if name in s["listen"])
        click.echo(
            f"  listens    api {s['listen']['api']}, peers {s['listen']['peer']}, DICOM {s['listen']['dicom']}{dicom}"
        )
        click.echo(f"  people at  {s['url']}/console/")
        _certificate(s["certificate"])
        made = show.moment(s["backup_at"]) if s["backup_at"] else "never (leveret backup)"
        click.echo(f"  backup     {made}")
        held_up = s["deliveries"]
        if held_up["suspended"] or held_up["unlinked"]:
            click.echo(
                f"  deliveries {held_up['suspended']} wait for a PACS, {held_up['unlinked']} to be linked"
                " (leveret send --list)"
            )
        told = s["withdrawals"]
        if told["waiting"] or told["refused"]:
            click.echo(
                f"  withdrawn  {told['waiting']} still to tell, {told['refused']} refused (leveret withdrawals list)"
            )
        if told["received"]:
            click.echo(f"  notices    {told['received']} from other facilities (leveret withdrawals received)")
        _alarms(s)

    session.show(session.daemon().get("/status"), for_people)


def _alarms(s: Any) -> None:
    """What somebody must look at."""
    if s["emergencies"]:
        released = show.plural(s["emergencies"], "release")
        click.secho(f"  ! {released} by break-glass to review: leveret consent emergencies list", fg="red")
    for forked in s["forked_feeds"]:
        click.secho(f"  ! {forked[:7]}: {show.words('feed_frozen')}", fg="red")
    if s["restored"]:
        click.secho(
            f"  ! restored from a backup of {show.moment(s['restored']['backup_at'])}: releases and announcements"
            " wait until peers, consents, opt-outs and users were looked at (leveret restore --confirm-review)",
            fg="red",
        )
    if s["quarantined"]:
        click.secho(f"  ! {s['quarantined']} in quarantine: see leveret quarantine list", fg="red")
    if s["damaged"]:
        damaged = show.plural(s["damaged"], "stored object")
        click.secho(f"  ! {damaged} damaged: see leveret studies --damaged", fg="red")
    for problem in s["problems"]:
        click.secho(f"  ! {show.words(problem)}", fg="red")


def _certificate(shown: Any) -> None:
    """What browsers are shown, if nobody vouches for it or it ends soon."""
    if shown is None:
        return
    if shown["own"]:
        click.echo(f"  shows      a certificate of its own, SHA-256 {shown['fingerprint']}")
    elif shown["expires_at"] < time.time() + _SOON_SECONDS:
        click.secho(f"  ! the API's certificate ends {show.moment(shown['expires_at'])}: exchange the files", fg="red")


@command("id")
@click.pass_obj
def identity(session: Session) -> None:
    """This node's PeerId and the fingerprint of its certificate."""
    s = session.daemon().get("/status")
    document = {name: s[name] for name in ("peer_id", "name", "fingerprint")}

    def for_people(d: Any) -> None:
        click.echo(f"{d['peer_id']}\nSHA-256 {d['fingerprint']}")

    session.show(document, for_people)


@command("studies")
@click.option("--patient-id", metavar="ID", help="Only this Patient ID (* and ? match anything).")
@click.option("--name", metavar="PATTERN", help="Only patients with such a name, for instance 'Garcia*'.")
@click.option("--study", metavar="UID", help="The revisions of this study.")
@click.option("--protected", is_flag=True, help="Studies that must not be deleted, and why.")
@click.option("--damaged", is_flag=True, help="Studies of which stored objects are damaged, and what to do.")
@click.option("--withdrawn", is_flag=True, help="Studies that were withdrawn, and why.")
@click.pass_obj
def studies(
    session: Session,
    patient_id: str | None,
    name: str | None,
    study: str | None,
    *,
    withdrawn: bool,
    protected: bool,
    damaged: bool,
) -> None:
    """What is held, newest first."""
    if protected:
        session.show(session.daemon().every("/protections", "protections"), _protected)
        return
    if damaged:
        session.show(session.daemon().get("/scrub"), _damaged)
        return
    if study is not None:
        session.show(session.daemon().get("/revisions", study=study), _revisions)
        return
    if withdrawn:
        session.show(session.daemon().every("/withdrawals/studies", "studies"), _withdrawn)
        return

    def for_people(document: Any) -> None:
        show.table(
            ("DATE", "PATIENT", "PATIENT ID", "MODALITIES", "DESCRIPTION", "INSTANCES", "REV", "FROM", "STUDY"),
            [
                (
                    show.date(s["study_date"]),
                    s["patient_name"],
                    _patient_id(s),
                    s["modalities"],
                    s["description"],
                    s["instances"],
                    s["revision"],
                    s["origin"][:7] if s["origin"] else "own",
                    s["study_instance_uid"],
                )
                for s in document["studies"]
            ],
            empty="No such studies are held.",
        )

    session.show(session.daemon().every("/studies", "studies", patient_id=patient_id, name=name), for_people)


def _patient_id(study: Any) -> str:
    """The id that a study came with; before it that of the local patient it is linked to."""
    local, came = study["linked_patient_id"], study["patient_id"]
    return f"{local} ({came} there)" if local else str(came)


def _revisions(document: Any) -> None:
    show.table(
        ("REVISION", "CLOSED", "BECAUSE OF", "INSTANCES", "SIZE"),
        [
            (r["revision"], show.moment(r["closed_at"]), r["cause"], r["instances"], show.size(r["bytes"]))
            for r in document["revisions"]
        ],
        empty="No revision was closed yet.",
    )
    for reason, count in document["hidden"].items():
        click.echo(f"{show.plural(count, 'instance')} hidden: {show.printable(reason)}")


def _withdrawn(document: Any) -> None:
    show.table(
        ("WITHDRAWN", "PATIENT", "PATIENT ID", "DATE", "MODALITIES", "INSTANCES", "FROM", "WHY", "STUDY"),
        [
            (
                show.moment(s["withdrawn_at"]),
                s["patient_name"],
                s["patient_id"],
                show.date(s["study_date"]),
                s["modalities"],
                s["instances"],
                s["origin"][:7] if s["origin"] else "own",
                s["words"],
                s["study_instance_uid"],
            )
            for s in document["studies"]
        ],
        empty="Nothing was withdrawn.",
    )


def _protected(document: Any) -> None:
    show.table(
        ("SINCE", "BY", "WHY", "STUDY"),
        [(show.moment(p["at"]), p["by"], p["reason"], p["study_instance_uid"]) for p in document["protections"]],
        empty="No study is protected.",
    )


def _damaged(document: Any) -> None:
    show.table(
        ("FOUND", "OBJECTS", "WHAT", "FROM", "REF", "STUDY"),
        [
            (
                show.moment(d["found_at"]),
                d["objects"],
                d["flaw"],
                d["origin"][:7] if d["origin"] else "own",
                d["ref"],
                d["study_instance_uid"],
            )
            for d in document["damaged"]
        ],
        empty="Nothing is known to be damaged.",
    )
    if document["damaged"]:
        click.echo(
            "Restore packs/ from a backup; or delete the study (`leveret delete`) and have it sent again: an own one"
        )
        click.echo("by the PACS, one of another facility with `leveret request`.")
