"""``leveret consent``: what patients allow and forbid, their keys, and what break-glass left to look at."""

import json
from pathlib import Path
from typing import Any, TextIO

import click

from node.cli import show
from node.cli.client import quoted
from node.cli.command import LeveretGroup, Session, group
from node.cli.grants import new_key, sign
from node.cli.values import Moment, StudyDate
from node.model.consent import PurposeOfUse

_MAX_RESOURCE = 60 * 1024  # characters of one FHIR Consent
_PURPOSE = click.Choice([purpose.value for purpose in PurposeOfUse], case_sensitive=False)


@group("consent")
def consent() -> None:
    """What patients allow and forbid."""


@consent.command("add")
@click.option("--patient-id", metavar="ID", required=True, help="Whose decision it is.")
@click.option("--issuer", help="Issuer of the Patient ID, if it is not this facility's.")
@click.option("--permit", is_flag=True, help="The patient allows it.")
@click.option("--deny", is_flag=True, help="The patient forbids it; wins over every permission.")
@click.option("--to", metavar="PEER", default="any", show_default=True, help="Which facility, or any trusted one.")
@click.option("--study", "studies", multiple=True, metavar="UID", help="Only this study; may be repeated.")
@click.option("--modality", "modalities", multiple=True, metavar="CS", help="Only such studies, as CT; repeatable.")
@click.option("--body-part", "body_parts", multiple=True, metavar="CS", help="Only such studies, as CHEST; repeatable.")
@click.option("--from-date", type=StudyDate(), metavar="DATE", help="Only studies of that day or later.")
@click.option("--to-date", type=StudyDate(), metavar="DATE", help="Only studies of that day or earlier.")
@click.option("--purpose", "purposes", multiple=True, type=_PURPOSE, help="Only for this; repeatable.  [default: all]")
@click.option("--until", type=Moment(), metavar="DATE", help="2027-12-31 (that day included), or 90d from now.")
@click.option("--recorded-by", metavar="NAME", help="Who saw the patient decide.  [default: the caller]")
@click.pass_obj
def add(session: Session, /, *, permit: bool, deny: bool, **given: Any) -> None:
    """Record what a patient decided; it counts from now on. Limits left out are none."""
    if permit == deny:
        raise click.UsageError("Give either --permit or --deny.")
    effect = "PERMIT" if permit else "DENY"
    document = session.daemon().post("/consents", effect=effect, **{k: v or None for k, v in given.items()})

    def for_people(d: Any) -> None:
        click.echo(f"Recorded. To take it back: leveret consent revoke {d['consent_id']}")
        if not d["studies_held"]:
            click.secho("No study of this patient is held here: check the Patient ID and its issuer.", fg="yellow")
        _effects(d)

    session.show(document, for_people)


@consent.command("list")
@click.option("--patient-id", metavar="ID", help="Only this patient's.")
@click.option("--issuer", help="Issuer of the Patient ID, if it is not this facility's.")
@click.pass_obj
def list_consents(session: Session, patient_id: str | None, issuer: str | None) -> None:
    """Consents of every kind, newest first: directives, share codes, and what released something."""

    def for_people(document: Any) -> None:
        show.table(
            ("CONSENT ID", "KIND", "PATIENT ID", "EFFECT", "TO", "WHAT", "PURPOSE", "UNTIL", "REVOKED"),
            [
                (
                    c["consent_id"],
                    c["kind"],
                    c["patient_id"],
                    c["effect"],
                    c["to"] if c["to"] == "any" else c["to"][:7],
                    _scope(c["scope"]),
                    c["purpose"] or "every",
                    show.moment(c["until"]),
                    show.moment(c["revoked_at"]),
                )
                for c in document["consents"]
            ],
            empty="No consents are on file.",
        )

    session.show(session.daemon().every("/consents", "consents", patient_id=patient_id, issuer=issuer), for_people)


@consent.command("revoke")
@click.argument("consent_id")
@click.pass_obj
def revoke(session: Session, consent_id: str) -> None:
    """Take a consent of any kind back, by its CONSENT_ID; at once, for running transfers too."""

    def for_people(d: Any) -> None:
        click.echo("Revoked: nothing more is released under it.")
        _effects(d)

    session.show(session.daemon().post(f"/consents/{quoted(consent_id)}/revoke"), for_people)


@consent.command("export")
@click.argument("consent_id")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write it there instead.")
@click.pass_obj
def export(session: Session, consent_id: str, out: Path | None) -> None:
    """A directive as a FHIR R4 Consent, in JSON."""
    document = session.daemon().get(f"/consents/{quoted(consent_id)}/fhir")
    if out is None:
        click.echo(json.dumps(document, indent=None if session.as_json else 2, ensure_ascii=False))
        return
    out.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    session.show({"file": str(out)}, lambda _d: click.echo(f"Written to {out}."))


@consent.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option("--patient-id", metavar="ID", help="Whose it is here, if its own identifier does not say so.")
@click.option("--issuer", help="Issuer of that Patient ID, if it is not this facility's.")
@click.pass_obj
def import_consent(session: Session, file: TextIO, patient_id: str | None, issuer: str | None) -> None:
    """Record the FHIR R4 Consent in FILE (- for standard input) as a directive, or say why it cannot be."""
    try:
        resource = json.loads(file.read(_MAX_RESOURCE))
    except (ValueError, RecursionError) as exc:
        raise click.BadParameter("is no JSON document of at most 60 KiB", param_hint="FILE") from exc
    document = session.daemon().post("/consents/fhir", resource=resource, patient_id=patient_id, issuer=issuer)

    def for_people(d: Any) -> None:
        click.echo(f"Recorded as {d['consent_id']}.")
        _effects(d)

    session.show(document, for_people)


# Keys of patients


@consent.command("bind-key")
@click.option("--patient-id", metavar="ID", required=True, help="Whose key it is.")
@click.option("--issuer", help="Issuer of the Patient ID, if it is not this facility's.")
@click.argument("public_key")
@click.pass_obj
def bind_key(session: Session, patient_id: str, issuer: str | None, public_key: str) -> None:
    """Bind PUBLIC_KEY, which the patient showed in person, to the record: grants that it signs count."""
    document = session.daemon().post("/patient-keys", patient_id=patient_id, issuer=issuer, public_key=public_key)
    session.show(document, lambda d: click.echo(f"Bound. To revoke it: leveret consent revoke-key {d['public_key']}"))


@consent.command("keys")
@click.option("--patient-id", metavar="ID", required=True, help="Whose keys.")
@click.option("--issuer", help="Issuer of the Patient ID, if it is not this facility's.")
@click.pass_obj
def keys(session: Session, patient_id: str, issuer: str | None) -> None:
    """The keys that are bound to a patient."""

    def for_people(document: Any) -> None:
        show.table(
            ("PUBLIC KEY", "BOUND", "BY", "REVOKED"),
            [
                (k["public_key"], show.moment(k["bound_at"]), k["bound_by"], show.moment(k["revoked_at"]))
                for k in document["keys"]
            ],
            empty="No key is bound to this patient.",
        )

    session.show(session.daemon().every("/patient-keys", "keys", patient_id=patient_id, issuer=issuer), for_people)


@consent.command("revoke-key")
@click.argument("public_key")
@click.pass_obj
def revoke_key(session: Session, public_key: str) -> None:
    """Revoke PUBLIC_KEY, and with it every grant that it signed."""

    def for_people(d: Any) -> None:
        click.echo("Revoked: no grant of this key counts any more.")
        _effects(d)

    session.show(session.daemon().post("/patient-keys/revoke", public_key=public_key), for_people)


consent.add_command(new_key)
consent.add_command(sign)


# Opting out


@consent.command("opt-out")
@click.option("--patient-id", metavar="ID", required=True, help="Who opts out.")
@click.option("--issuer", help="Issuer of the Patient ID, if it is not this facility's.")
@click.pass_obj
def opt_out(session: Session, patient_id: str, issuer: str | None) -> None:
    """The patient wants nothing announced, and nothing shared on another facility's word."""

    def for_people(d: Any) -> None:
        click.echo("Opted out; what was announced is withdrawn with the next announcement.")
        _effects(d)

    session.show(session.daemon().post("/opt-outs", patient_id=patient_id, issuer=issuer), for_people)


@consent.command("opt-in")
@click.option("--patient-id", metavar="ID", required=True, help="Who takes the opt-out back.")
@click.option("--issuer", help="Issuer of the Patient ID, if it is not this facility's.")
@click.pass_obj
def opt_in(session: Session, patient_id: str, issuer: str | None) -> None:
    """The patient takes the opt-out back."""
    session.daemon().post("/opt-outs/remove", patient_id=patient_id, issuer=issuer)
    session.show({"patient_id": patient_id, "opted_out": False}, lambda _d: click.echo("Opted in."))


# Break-glass


@consent.group("emergencies", cls=LeveretGroup)
def emergencies() -> None:
    """Releases by break-glass: each must be looked at by somebody."""


@emergencies.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that were reviewed too.")
@click.pass_obj
def list_emergencies(session: Session, *, everything: bool) -> None:
    """Those that nobody has looked at yet, newest first."""

    def for_people(document: Any) -> None:
        for e in document["emergencies"]:
            click.secho(e["request_id"], bold=True)
            click.echo(f"  released  {show.moment(e['released_at'])} to {e['peer_id']}")
            click.echo(f"  asked by  {show.printable(e['user'])}: {show.printable(e['reason'])}")
            click.echo(f"  patient   {show.printable(e['patient_id'])}")
            click.echo(f"  studies   {show.printable(e['studies'])}")
            if e["verdict"]:
                told = "patient told" if e["patient_told_at"] else "patient not told"
                click.echo(f"  verdict   {e['verdict']} ({told}): {show.printable(e['note'])}")
        if not document["emergencies"]:
            click.echo("Nothing to review.")

    session.show(session.daemon().every("/emergencies", "emergencies", all=1 if everything else None), for_people)


@emergencies.command("review")
@click.argument("request_id")
@click.option("--justified", is_flag=True, help="It was right to release.")
@click.option("--unjustified", is_flag=True, help="It was not.")
@click.option("--note", required=True, help="What you found; kept in the audit log.")
@click.option("--patient-told", is_flag=True, help="The patient was told of it.")
@click.pass_obj
def review(
    session: Session, request_id: str, note: str, *, justified: bool, unjustified: bool, patient_told: bool
) -> None:
    """Judge the release of REQUEST_ID; the verdict stands."""
    if justified == unjustified:
        raise click.UsageError("Give either --justified or --unjustified.")
    document = session.daemon().post(
        f"/emergencies/{quoted(request_id)}/review",
        justified=justified,
        note=note,
        patient_told=patient_told,
    )
    session.show(document, lambda d: click.echo(f"Reviewed: {d['verdict']}."))


def _effects(d: Any) -> None:
    """What ended, and honestly what did not."""
    if d["transfers_stopped"]:
        click.echo(f"{show.plural(d['transfers_stopped'], 'running transfer')} stopped.")
    if d["requests_refused"]:
        click.echo(f"{show.plural(d['requests_refused'], 'waiting request')} refused.")
    if d["copies_at"]:
        count = len(d["copies_at"])
        have = "1 facility has a copy" if count == 1 else f"{count} facilities have copies"
        click.echo(
            f"{have} that cannot be called back; tell the patient so: {', '.join(p[:7] for p in d['copies_at'])}"
        )


def _scope(scope: Any) -> str:
    parts = [*scope["modalities"], *scope["body_parts"]]
    if scope["studies"]:
        parts.append(show.plural(len(scope["studies"]), "study"))
    if scope["from_date"] or scope["to_date"]:
        parts.append(f"{show.date(scope['from_date'] or '')}..{show.date(scope['to_date'] or '')}")
    return " ".join(parts) or "all"
