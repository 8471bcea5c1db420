"""``leveret send``: send a study to a PACS, and say what became of each instance."""

from typing import Any

import click

from node.cli import show
from node.cli.client import Daemon, quoted
from node.cli.command import Session, command

_FAILED = 1
_MOST_SHOWN = 20  # instances in the table for people; --json has all


@command("send")
@click.option("--study", metavar="UID", help="The study; a received one must be linked to a local patient.")
@click.option("--to", "pacs", metavar="PACS", help="Name of the DICOM system (`leveret pacs list`).")
@click.option("--accession", metavar="NUMBER", help="Local accession number, for a received study.")
@click.option("--no-wait", is_flag=True, help="Order it, and do not wait for its end.")
@click.option("--cancel", metavar="DELIVERY", help="Give a delivery up.")
@click.option("--list", "lists", is_flag=True, help="Show all deliveries.")
@click.pass_obj
def send(
    session: Session,
    /,
    *,
    study: str | None,
    pacs: str | None,
    accession: str | None,
    no_wait: bool,
    cancel: str | None,
    lists: bool,
) -> int:
    """Send a study to a PACS of this facility."""
    daemon = session.daemon()
    if lists:
        session.show(daemon.every("/deliveries", "deliveries"), _list)
        return 0
    if cancel:
        session.show(daemon.post(f"/deliveries/{quoted(cancel)}/cancel"), lambda d: click.echo(f"{d['state']}."))
        return 0
    if not study or not pacs:
        raise click.UsageError("Give --study and --to.")
    ordered = daemon.post("/deliveries", study=study, pacs=pacs, accession=accession)
    if no_wait:
        session.show(ordered, lambda _d: click.echo("Ordered. See how it stands with: leveret send --list"))
        return 0
    return show_end(session, follow(session, daemon, ordered["delivery_id"]))


def follow(session: Session, daemon: Daemon, delivery_id: str) -> dict[str, Any]:
    """The delivery once it is settled, with its instances; a bar while it moves."""
    path = f"/deliveries/{quoted(delivery_id)}"
    with show.Bar("sending", live=session.live) as bar:
        for event in daemon.events(f"{path}/events"):
            if event["ended"]:
                break
            note = show.printable(event["code"]) if event["state"] == "SUSPENDED" else ""
            bar.update(event["bytes_done"], event["bytes_total"], event["instances_done"], note)
    return {**daemon.get(path), "instances": daemon.get(f"{path}/instances")["instances"]}


def show_end(session: Session, result: dict[str, Any]) -> int:
    """Print how a delivery ended; the exit status."""
    session.show(result, for_people)
    if result["code"]:
        click.echo(show.words(result["code"]), err=True)
    return 0 if result["state"] == "COMPLETED" else _FAILED


def for_people(d: Any) -> None:
    """The instances that did not go as they are, and how many went."""
    odd = [one for one in d["instances"] if one["outcome"] != "sent" or one["converted"]]
    if odd:
        show.table(
            ("OUTCOME", "STATUS", "WHY", "CONVERTED", "INSTANCE"),
            [
                (one["outcome"], one["status"], one["code"], one["converted"], one["sop_instance_uid"])
                for one in sorted(odd, key=lambda one: one["outcome"])[:_MOST_SHOWN]
            ],
            empty="",
        )
    if len(odd) > _MOST_SHOWN:
        click.echo(f"… and {len(odd) - _MOST_SHOWN} more; --json shows all.")
    taken = d["sent"] + d["warning"]
    click.echo(
        f"{d['state']}: {taken} of {show.plural(d['instances_total'], 'instance')} taken by {show.printable(d['pacs'])}"
        f" ({d['warning']} with a warning), {d['refused']} refused, {d['not_convertible']} not convertible."
    )


def _list(document: Any) -> None:
    show.table(
        ("ORDERED", "DELIVERY", "PACS", "STATE", "INSTANCES", "BYTES", "NOT TAKEN", "AS PATIENT", "CODE"),
        [
            (
                show.moment(d["created_at"]),
                d["delivery_id"],
                d["pacs"],
                d["state"],
                f"{d['instances_done']} of {d['instances_total']}",
                f"{show.size(d['bytes_done'])} of {show.size(d['bytes_total'])}",
                d["refused"] + d["not_convertible"],
                d["patient_id"],
                d["code"],
            )
            for d in document["deliveries"]
        ],
        empty="Nothing was sent to a PACS yet.",
    )
