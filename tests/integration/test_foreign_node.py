"""A foreign node with its own keys and its own bytes misbehaves; each time it gets the one right answer.

Nothing here is built with the node's encoders: messages are written as docs/protocol/ says, signed with a bare Ed25519
key, and sent over a bare HTTP client. Only the TLS certificate has the node's shape, without which nobody gets in.
"""

import base64
import gzip
import hashlib
import hmac
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from support.ct import CtStudy
from support.sharing_node import SharingNode, befriend, sharing_node

from node.config import ConsentSettings
from node.crypto.identity import Identity
from node.crypto.tls import client_context

STUDY = CtStudy(instances=3, rows=16)
REFUSED = "not_released"
Json = dict[str, Any]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class Foreigner:
    """Another implementation of the protocol, with a will of its own."""

    north: SharingNode
    seed: bytes
    session: aiohttp.ClientSession
    code: str

    @property
    def identity(self) -> Identity:
        return Identity.from_seed(self.seed)

    def sign(self, text: str, seed: bytes | None = None) -> str:
        return b64(Ed25519PrivateKey.from_private_bytes(seed or self.seed).sign(text.encode()))

    def jws(self, payload: bytes, header: Json | bytes | None = None, *, seed: bytes | None = None) -> str:
        shown = header or {"alg": "EdDSA", "typ": "leveret-request+jws"}
        raw = shown if isinstance(shown, bytes) else json.dumps(shown, separators=(",", ":")).encode()
        text = f"{b64(raw)}.{b64(payload)}"
        return f"{text}.{self.sign(text, seed)}"

    def body(self, **changes: Any) -> Json:
        body: Json = {
            "id": secrets.token_hex(16),
            "holder": self.north.peer_id.compact,
            "requester": self.identity.peer_id.compact,
            "user": "dr.strange",
            "role": "clinician",
            "purpose": "TREAT",
            "patient": None,
            "person": None,
            "studies": [{"uid": STUDY.study_uid}],
        }
        return {key: value for key, value in (body | changes).items() if value is not ...}

    def proof(self, raw: bytes, code: str | None = None) -> Json:
        text = (code or self.code).replace("-", "")
        keys = HKDF(SHA256(), 48, salt=None, info=b"leveret/share-code/v1").derive(text.encode())
        said = hashlib.sha256(raw).digest() + self.north.peer_id.digest + self.identity.peer_id.digest
        mac = hmac.digest(keys[16:], b"leveret/share-code-proof/v1\0" + said, "sha256")
        return {"kind": "share_code", "code": keys[:16].hex(), "mac": mac.hex()}

    def payload(self, body: Json | bytes, proof: Any = ..., **changes: Any) -> bytes:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        shown = self.proof(raw) if proof is ... else proof
        message = {"v": 1, "at": self.north.clock.now(), "request": b64(raw), "proof": shown} | changes
        return json.dumps(message).encode()

    async def post(self, path: str, data: bytes | str, **headers: str) -> tuple[int, Any]:
        raw = data.encode() if isinstance(data, str) else data
        url = f"https://{self.north.server.address}{path}"
        async with self.session.post(url, data=raw, headers=headers, skip_auto_headers=["Content-Type"]) as answer:
            return answer.status, await answer.read()

    async def ask(self, token: bytes | str, **headers: str) -> str:
        """The verdict or code of a decision, or the code of a refusal."""
        status, answer = await self.post("/peer/v1/requests", token, **headers)
        if status != 200:
            return str(json.loads(answer)["code"])
        _, payload, _ = answer.decode().split(".")
        decision = json.loads(base64.urlsafe_b64decode(payload + "=="))
        return str(decision["code"] or decision["verdict"])

    async def honest(self) -> str:
        """The id of a request that was permitted."""
        body = self.body()
        assert await self.ask(self.jws(self.payload(body))) == "permit"
        return str(body["id"])


@pytest.fixture
async def foreigner(tmp_path: Path) -> AsyncIterator[Foreigner]:
    seed = secrets.token_bytes(32)
    identity = Identity.from_seed(seed)
    settings = ConsentSettings(code_failures=1000, peer_failures=1000)
    async with (
        sharing_node("north", tmp_path, consent=settings) as north,
        sharing_node("foreign", tmp_path, identity=identity, engine=False) as card,
    ):
        await befriend(north, card)
        await north.hold(STUDY)
        code = await north.code_for(STUDY, uses=100)
        context = client_context(identity, north.identity.certificate)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            yield Foreigner(north, seed, session, code)


Misdeed = Callable[[Foreigner], Awaitable[str]]
MISDEEDS: dict[str, tuple[Misdeed, str]] = {}


def misdeed(code: str) -> Callable[[Misdeed], Misdeed]:
    """Register a misdeed under its name, with the code that it must be answered with."""

    def keep(deed: Misdeed) -> Misdeed:
        MISDEEDS[deed.__name__] = (deed, code)
        return deed

    return keep


def signed(code: str, name: str, header: Json | bytes | None = None, **changes: Any) -> None:
    """A request that is as it should be but for its header, or for members of its body."""

    async def deed(f: Foreigner) -> str:
        return await f.ask(f.jws(f.payload(f.body(**changes)), header))

    MISDEEDS[name] = (deed, code)


def outer(code: str, name: str, **changes: Any) -> None:
    """A request whose signed message has other members."""

    async def deed(f: Foreigner) -> str:
        return await f.ask(f.jws(f.payload(f.body(), **changes)))

    MISDEEDS[name] = (deed, code)


def proved(code: str, name: str, proof: Any) -> None:
    """A request with another proof."""

    async def deed(f: Foreigner) -> str:
        return await f.ask(f.jws(f.payload(f.body(), proof)))

    MISDEEDS[name] = (deed, code)


# Signatures -----------------------------------------------------------------------------------------------------------
ALG = {"alg": "EdDSA", "typ": "leveret-request+jws"}
signed("malformed_signed_message", "alg_none", {"alg": "none", "typ": "leveret-request+jws"})
signed("malformed_signed_message", "alg_hs256", {"alg": "HS256", "typ": "leveret-request+jws"})
signed("malformed_signed_message", "no_typ", {"alg": "EdDSA"})
signed("malformed_signed_message", "typ_of_a_receipt", {"alg": "EdDSA", "typ": "leveret-receipt+jws"})
signed("malformed_signed_message", "crit_in_the_header", ALG | {"crit": ["b64"]})
signed("malformed_signed_message", "jwk_in_the_header", ALG | {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AA"}})
signed("malformed_signed_message", "kid_in_the_header", ALG | {"kid": "1"})
signed("malformed_signed_message", "header_in_other_order", {"typ": "leveret-request+jws", "alg": "EdDSA"})
signed("malformed_signed_message", "header_with_blanks", b'{"alg": "EdDSA", "typ": "leveret-request+jws"}')
DOUBLE = b'{"alg":"EdDSA","alg":"EdDSA","typ":"leveret-request+jws"}'
signed("malformed_signed_message", "header_with_a_member_twice", DOUBLE)


@misdeed("malformed_signed_message")
async def no_jws_at_all(f: Foreigner) -> str:
    return await f.ask("hello")


@misdeed("malformed_signed_message")
async def empty_body(f: Foreigner) -> str:
    return await f.ask("")


@misdeed("malformed_signed_message")
async def a_fourth_part(f: Foreigner) -> str:
    return await f.ask(f.jws(f.payload(f.body())) + ".AA")


@misdeed("malformed_signed_message")
async def trailing_newline(f: Foreigner) -> str:
    return await f.ask(f.jws(f.payload(f.body())) + "\n")


@misdeed("malformed_signed_message")
async def padded_base64(f: Foreigner) -> str:
    header, payload, signature = f.jws(f.payload(f.body())).split(".")
    return await f.ask(f"{header}.{payload}.{signature}==")


@misdeed("malformed_signed_message")
async def stray_bits_in_base64(f: Foreigner) -> str:
    token = f.jws(f.payload(f.body()))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return await f.ask(token[:-1] + alphabet[alphabet.index(token[-1]) + 1])


@misdeed("malformed_signed_message")
async def a_short_signature(f: Foreigner) -> str:
    header, payload, signature = f.jws(f.payload(f.body())).split(".")
    return await f.ask(f"{header}.{payload}.{signature[:40]}")


@misdeed("signer_mismatch")
async def signed_by_another_key(f: Foreigner) -> str:
    return await f.ask(f.jws(f.payload(f.body()), seed=bytes(32)))


@misdeed("signer_mismatch")
async def changed_after_signing(f: Foreigner) -> str:
    header, _, signature = f.jws(f.payload(f.body())).split(".")
    return await f.ask(f"{header}.{b64(f.payload(f.body()))}.{signature}")


@misdeed("malformed_message")
async def not_ascii(f: Foreigner) -> str:
    return await f.ask("é".encode())


# Messages -------------------------------------------------------------------------------------------------------------
outer("request_malformed", "another_version", v=2)
outer("request_malformed", "an_unknown_member", extra=1)
outer("request_malformed", "a_time_that_is_text", at="now")
outer("request_malformed", "a_time_before_all_time", at=-1)
outer("request_malformed", "a_time_beyond_all_time", at=2**60)
outer("request_malformed", "a_body_that_is_no_base64", request="***")
outer("request_stale", "signed_long_ago", at=1_000_000_000)
outer("request_stale", "signed_in_ten_years", at=2_079_000_000)
signed("wrong_holder", "meant_for_another_holder", holder=Identity.from_seed(b"x" * 32).peer_id.compact)
signed("signer_mismatch", "in_another_facilitys_name", requester=Identity.from_seed(b"x" * 32).peer_id.compact)
signed("request_malformed", "a_peer_id_mistyped", holder="B" + "A" * 55)
signed("request_malformed", "no_studies", studies=[])
signed("request_malformed", "too_many_studies", studies=[{"uid": f"1.2.{n}"} for n in range(33)])
signed("request_malformed", "a_study_by_uid_and_ref", studies=[{"uid": "1.2", "ref": "00" * 16}])
signed("request_malformed", "a_study_by_nothing", studies=[{}])
signed("request_malformed", "a_path_as_uid", studies=[{"uid": "../../../etc/cron.d/x"}])
signed("request_malformed", "a_uid_with_leading_zero", studies=[{"uid": "1.02"}])
signed("request_malformed", "a_purpose_of_its_own", purpose="MARKETING")
signed("request_malformed", "an_id_in_capitals", id="AB" * 16)
signed("request_malformed", "a_short_id", id="ab" * 15)
signed("request_malformed", "a_member_missing", role=...)
signed("request_malformed", "a_user_of_a_thousand_letters", user="u" * 1000)
signed("request_malformed", "a_name_of_two_kilobytes", person={"name": "N" * 2048, "birth_date": "", "sex": ""})


@misdeed("request_malformed")
async def a_member_twice(f: Foreigner) -> str:
    raw = json.dumps(f.body())[:-1] + ',"user":"dr.who"}'
    return await f.ask(f.jws(f.payload(raw.encode())))


@misdeed("request_malformed")
async def a_thousand_brackets(f: Foreigner) -> str:
    return await f.ask(f.jws(b"[" * 10_000))


@misdeed("request_malformed")
async def bytes_that_are_no_text(f: Foreigner) -> str:
    return await f.ask(f.jws(f.payload(b'{"id":"\xff\xfe"}')))


@misdeed("request_malformed")
async def half_a_surrogate(f: Foreigner) -> str:
    raw = json.dumps(f.body(user="@")).replace("@", "\\ud800").encode()
    return await f.ask(f.jws(f.payload(raw)))


@misdeed("body_too_large")
async def a_megabyte(f: Foreigner) -> str:
    return await f.ask("A" * 2**20)


@misdeed("content_encoding_refused")
async def a_bomb_in_gzip(f: Foreigner) -> str:
    return await f.ask(gzip.compress(bytes(2**20)), **{"Content-Encoding": "gzip"})


# Proofs: nobody who proves nothing learns anything --------------------------------------------------------------------
proved(REFUSED, "no_proof", None)
proved(REFUSED, "a_code_that_is_none", {"kind": "share_code", "code": "00" * 16, "mac": "00" * 32})
proved(REFUSED, "a_grant_that_is_none", {"kind": "patient_key", "grant": "a.b.c"})
proved(REFUSED, "its_own_word", {"kind": "attested", "form": "00" * 32, "staff": "me"})
proved(REFUSED, "an_emergency_of_its_own", {"kind": "emergency", "reason": "trust me"})
proved("request_malformed", "a_kind_of_its_own", {"kind": "because", "code": "00"})
proved("request_malformed", "a_proof_of_no_kind", {"code": "00" * 16, "mac": "00" * 32})
proved("request_malformed", "a_proof_with_more", {"kind": "attested", "form": "00" * 32, "staff": "me", "x": 1})
proved("request_malformed", "an_emergency_without_reason", {"kind": "emergency", "reason": ""})


@misdeed(REFUSED)
async def a_wrong_mac(f: Foreigner) -> str:
    body = f.body()
    proof = f.proof(json.dumps(body).encode()) | {"mac": "00" * 32}
    return await f.ask(f.jws(f.payload(body, proof)))


@misdeed(REFUSED)
async def the_proof_of_another_request(f: Foreigner) -> str:
    return await f.ask(f.jws(f.payload(f.body(), f.proof(json.dumps(f.body()).encode()))))


@misdeed("share_code_other_study")
async def a_study_that_the_code_does_not_cover(f: Foreigner) -> str:
    return await f.ask(f.jws(f.payload(f.body(studies=[{"uid": "1.2.3.4"}]))))


@misdeed("purpose_not_covered")
async def a_purpose_that_the_code_does_not_cover(f: Foreigner) -> str:
    return await f.ask(f.jws(f.payload(f.body(purpose="HRESCH"))))


@misdeed(REFUSED)
async def a_grant_by_a_key_that_nobody_bound(f: Foreigner) -> str:
    now = f.north.clock.now()
    key = Ed25519PrivateKey.generate()
    text: Json = {
        "v": 1, "jti": "00" * 16, "key": b64(key.public_key().public_bytes_raw()), "aud": f.north.peer_id.compact,
        "sub": f.identity.peer_id.compact, "nbf": now - 5, "exp": now + 500, "purposes": ["TREAT"], "studies": [],
        "modalities": [], "body_parts": [], "from_date": "", "to_date": "",
    }  # fmt: skip
    head = b64(b'{"alg":"EdDSA","typ":"leveret-grant+jws"}') + "." + b64(json.dumps(text).encode())
    grant = f"{head}.{b64(key.sign(head.encode()))}"
    return await f.ask(f.jws(f.payload(f.body(), {"kind": "patient_key", "grant": grant})))


# Replays and what is another's ----------------------------------------------------------------------------------------


@misdeed("request_id_reused")
async def another_request_under_one_id(f: Foreigner) -> str:
    taken = await f.honest()
    return await f.ask(f.jws(f.payload(f.body(id=taken, user="somebody else"))))


async def _refusal_of(f: Foreigner, path: str, data: bytes | str) -> str:
    status, answer = await f.post(path, data)
    assert status != 200, answer
    return str(json.loads(answer)["code"])


@misdeed("no_such_request")
async def objects_of_a_request_never_made(f: Foreigner) -> str:
    return await _refusal_of(f, f"/peer/v1/requests/{'ab' * 16}/objects", '{"instances":[0]}')


@misdeed("no_such_request")
async def objects_under_a_name_that_is_none(f: Foreigner) -> str:
    return await _refusal_of(f, "/peer/v1/requests/..%2f..%2fetc/objects", '{"instances":[0]}')


@misdeed("invalid_request")
async def an_instance_beyond_the_manifest(f: Foreigner) -> str:
    return await _refusal_of(f, f"/peer/v1/requests/{await f.honest()}/objects", '{"instances":[99]}')


@misdeed("invalid_request")
async def an_instance_twice(f: Foreigner) -> str:
    return await _refusal_of(f, f"/peer/v1/requests/{await f.honest()}/objects", '{"instances":[1,1]}')


@misdeed("malformed_message")
async def an_instance_below_zero(f: Foreigner) -> str:
    return await _refusal_of(f, f"/peer/v1/requests/{await f.honest()}/objects", '{"instances":[-1]}')


@misdeed("malformed_message")
async def a_list_of_two_thousand(f: Foreigner) -> str:
    wanted = json.dumps({"instances": list(range(2000))})
    return await _refusal_of(f, f"/peer/v1/requests/{await f.honest()}/objects", wanted)


def _receipt(f: Foreigner, request_id: str, **changes: Any) -> bytes:
    receipt = {
        "v": 1, "id": request_id, "holder": f.north.peer_id.compact, "recipient": f.identity.peer_id.compact,
        "at": f.north.clock.now(), "manifest": "00" * 32, "instances": 3, "bytes": 1,
    }  # fmt: skip
    return json.dumps(receipt | changes).encode()


_RECEIPT = {"alg": "EdDSA", "typ": "leveret-receipt+jws"}


@misdeed("receipt_refused")
async def a_receipt_for_another_manifest(f: Foreigner) -> str:
    done = await f.honest()
    return await _refusal_of(f, f"/peer/v1/requests/{done}/receipt", f.jws(_receipt(f, done), _RECEIPT))


@misdeed("receipt_refused")
async def a_receipt_for_another_request(f: Foreigner) -> str:
    done = await f.honest()
    return await _refusal_of(f, f"/peer/v1/requests/{done}/receipt", f.jws(_receipt(f, "ab" * 16), _RECEIPT))


@misdeed("signer_mismatch")
async def a_receipt_that_somebody_else_signed(f: Foreigner) -> str:
    done = await f.honest()
    token = f.jws(_receipt(f, done), _RECEIPT, seed=bytes(32))
    return await _refusal_of(f, f"/peer/v1/requests/{done}/receipt", token)


async def test_each_misdeed_gets_its_answer_and_harms_nobody(foreigner: Foreigner) -> None:
    answers = {}
    for name, (deed, _) in MISDEEDS.items():
        answers[name] = await deed(foreigner)
        assert await foreigner.honest(), f"after {name} the node serves on"
    assert answers == {name: expected for name, (_, expected) in MISDEEDS.items()}


def test_there_are_at_least_forty() -> None:
    assert len(MISDEEDS) >= 40
