"""The invitation's text through the hands of mail programs, and cards and invitations that were tampered with."""

import quopri
import re
import textwrap
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.crypto.identity import Identity
from node.crypto.jws import JwsType, sign_jws
from node.errors.trust import InvalidCard, InvitationDamaged
from node.model.trust import Address, Card, Invitation
from node.sharing.cards import MAX_CARD_BYTES, peer_of_card, presentable, read_card, sign_card
from node.sharing.invitations import MAX_TEXT, read_invitation, write_invitation

NORTH = Identity.from_seed(b"n" * 32)
LAKE = Identity.from_seed(b"l" * 32)
CARD = Card(NORTH.certificate, "Klinik Nörd", (Address("north.example", 8443),), 7, 1_000, 2_000_000_000)
TOKEN = sign_card(NORTH, CARD)
INVITATION = Invitation(b"i" * 16, bytes(range(16)), 1_000, 1_900_000_000, auto_confirm=False, bound_to=LAKE.peer_id)
TEXT = write_invitation(NORTH, TOKEN, CARD.name, INVITATION)


def _wrapped_at_76(text: str) -> str:
    return "\n".join("\n".join(textwrap.wrap(line, 50)) for line in text.splitlines())


MAILS = {
    "as it is": TEXT,
    "CRLF": TEXT.replace("\n", "\r\n"),
    "quoted": "\n".join(f"> {line}" for line in TEXT.splitlines()),
    "quoted twice, no blank": "\n".join(f">> {line}" for line in TEXT.splitlines()),
    "quoted in HTML": "\n".join(f"&gt; {line}" for line in TEXT.splitlines()),
    "quoted with bars": "\n".join(f"| {line}" for line in TEXT.splitlines()),
    "indented": "\n".join(f"    {line}" for line in TEXT.splitlines()),
    "tabs and blanks at line ends": "\n".join(f"\t{line}  " for line in TEXT.splitlines()),
    "hard blanks": "\n".join(f"\u00a0{line}\u200b" for line in TEXT.splitlines()),
    "quoted-printable left in": quopri.encodestring(TEXT.encode()).decode(),
    "wrapped again": _wrapped_at_76(TEXT),
    "long dashes": TEXT.replace("-----", "\u2014\u2014"),
    "no line ends in the body": re.sub(r"(?<=\w)\n(?=\w)", " ", TEXT),
    "between other text": f"Dear colleague,\nhere it is.\n{TEXT}\n-- \nA. Nother, Lake Hospital",
    "byte order mark": "\ufeff" + TEXT,
}


@pytest.mark.parametrize("mail", MAILS)
def test_an_invitation_survives_the_post(mail: str) -> None:
    read = read_invitation(MAILS[mail])
    assert read.inviter == NORTH.peer_id
    assert (read.card, read.card_token) == (CARD, TOKEN)
    assert read.invitation == INVITATION


def test_the_file_is_short_lines_of_plain_text_and_shows_no_secret_in_clear() -> None:
    body = TEXT[TEXT.index("-----BEGIN") :]
    assert all(len(line) <= 64 for line in body.splitlines())
    assert body.isascii()
    assert "valid until 2030-03-17" in TEXT
    assert INVITATION.secret.hex() not in TEXT


@settings(max_examples=150)
@given(st.data())
def test_any_change_inside_is_noticed(data: st.DataObject) -> None:
    start, end = TEXT.index("-----\n") + 6, TEXT.index("\n-----END")
    at = data.draw(st.integers(start, end - 1).filter(lambda i: TEXT[i] != "\n"))
    other = data.draw(st.sampled_from(sorted(set("ABCDxyz019+/*é!") - {TEXT[at]})))
    for changed in (TEXT[:at] + other + TEXT[at + 1 :], TEXT[:at] + TEXT[at + 1 :], TEXT[:at] + other + TEXT[at:]):
        with pytest.raises(InvitationDamaged):
            read_invitation(changed)


@given(st.text(max_size=300))
def test_any_text_is_refused_in_an_orderly_way(text: str) -> None:
    for given_text in (text, f"BEGIN LEVERET INVITATION-----\n{text}\n-----END LEVERET INVITATION"):
        with pytest.raises(InvitationDamaged):
            read_invitation(given_text)


def test_a_line_less_a_line_twice_and_a_flood_are_refused() -> None:
    lines = TEXT.splitlines()
    first = lines.index("-----BEGIN LEVERET INVITATION-----") + 1
    for changed in (lines[:first] + lines[first + 1 :], lines[: first + 1] + lines[first:]):
        with pytest.raises(InvitationDamaged):
            read_invitation("\n".join(changed))
    with pytest.raises(InvitationDamaged):
        read_invitation(TEXT + " " * MAX_TEXT)


def _signed_invitation(identity: Identity, **changes: object) -> str:
    fields = {
        "v": 1, "card": TOKEN, "invitation": b"i" * 16, "secret": b"s" * 16, "created_at": 1, "expires_at": 2,
        "auto_confirm": False, "bound_to": None, **changes,
    }  # fmt: skip
    token = sign_jws(identity, JwsType.INVITATION, msgspec.json.encode(fields))
    body = token.replace("-", "+").replace("_", "/")
    return f"BEGIN LEVERET INVITATION\n{body}\nEND LEVERET INVITATION"


def test_the_forge_of_these_tests_forges_well() -> None:
    assert read_invitation(_signed_invitation(NORTH)).inviter == NORTH.peer_id


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"secret": b"s" * 15},
        {"invitation": b""},
        {"expires_at": -1},
        {"expires_at": 2**53},
        {"bound_to": "nobody"},
        {"more": 1},
        {"card": "a.b.c"},
        {"card": 5},
        {"auto_confirm": "yes"},
    ],
)
def test_signed_nonsense_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvitationDamaged):
        read_invitation(_signed_invitation(NORTH, **changes))


def test_somebody_else_cannot_sign_for_the_card_inside() -> None:
    with pytest.raises(InvitationDamaged):
        read_invitation(_signed_invitation(LAKE))


def _signed_card(**changes: object) -> str:
    fields = {
        "v": 1, "certificate": NORTH.certificate, "name": "north", "addresses": ["n.example:1"], "sequence": 1,
        "issued_at": 1, "expires_at": 2, **changes,
    }  # fmt: skip
    return sign_jws(NORTH, JwsType.CARD, msgspec.json.encode(fields))


def test_cards_round_trip() -> None:
    assert read_card(TOKEN) == CARD
    assert peer_of_card(CARD) == NORTH.peer_id
    assert read_card(_signed_card()).name == "north"


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 0},
        {"name": ""},
        {"name": " north"},
        {"name": "no\nrth"},
        {"name": "\u202enorth"},
        {"name": "n" * 65},
        {"addresses": ["n.example:1"] * 5},
        {"addresses": ["n.example:0"]},
        {"addresses": ["javascript:alert(1)"]},
        {"sequence": -1},
        {"sequence": 2**53},
        {"issued_at": 3},
        {"expires_at": 2**60},
        {"certificate": b""},
        {"certificate": LAKE.certificate},
        {"certificate": NORTH.certificate[:-1] + b"\0"},
        {"more": None},
        {"name": None},
        {"name": "n" * MAX_CARD_BYTES},
    ],
)
def test_cards_that_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidCard):
        read_card(_signed_card(**changes))


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", TOKEN + "A", TOKEN[:-2], TOKEN.replace(".", "..", 1)])
def test_tokens_that_are_no_cards(token: str) -> None:
    with pytest.raises(InvalidCard):
        read_card(token)


def test_an_invitation_is_no_card() -> None:
    with pytest.raises(InvalidCard):
        read_card(sign_jws(NORTH, JwsType.INVITATION, b"{}"))


@given(st.text(max_size=200))
def test_every_name_becomes_presentable_and_stays_so(name: str) -> None:
    shown = presentable(name)
    assert presentable(shown) == shown
    card = replace(CARD, name=shown)
    assert read_card(sign_card(NORTH, card)) == card
