"""Makes the vector files beside it: the documented formats once more, independent of the node (see README.md)."""

import base64
import hashlib
import hmac
import json
import struct
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl import bindings, pwhash
from nacl.signing import SigningKey
from voprf import ristretto

HERE = Path(__file__).parent
CHUNK = 256 * 1024
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def stream(label: str, length: int) -> bytes:
    """Bytes that look random and are the same each time: SHAKE-256 of a name."""
    return hashlib.shake_256(label.encode()).digest(length)


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand with SHA-512, RFC 5869 section 2.3."""
    okm, block, counter = b"", b"", 0
    while len(okm) < length:
        counter += 1
        block = hmac.digest(prk, block + info + bytes([counter]), "sha512")
        okm += block
    return okm[:length]


def hkdf256(ikm: bytes, info: bytes, length: int) -> bytes:
    """HKDF with SHA-256 and no salt, RFC 5869 section 2."""
    prk, okm, block, counter = hmac.digest(bytes(32), ikm, "sha256"), b"", b"", 0
    while len(okm) < length:
        counter += 1
        block = hmac.digest(prk, block + info + bytes([counter]), "sha256")
        okm += block
    return okm[:length]


def encrypt(key: bytes, plaintext: bytes, context: bytes, salt: bytes) -> bytes:
    okm = expand(key, b"leveret/object/v1+AEAD_AES_256_GCM\0" + salt + context, 76)
    aead, base = AESGCM(okm[:32]), int.from_bytes(okm[32:44], "big")
    out = salt + okm[44:]
    for index in range(len(plaintext) // CHUNK + 1):
        nonce = (base ^ index).to_bytes(12, "big")
        out += aead.encrypt(nonce, plaintext[index * CHUNK : (index + 1) * CHUNK], None)
    return out


def seal(key: bytes, plaintext: bytes, aad: bytes, salt: bytes) -> bytes:
    return encrypt(expand(key, b"leveret/seal/v1", 32), plaintext, aad, salt)


def object_vectors() -> list[dict[str, Any]]:
    key, salt = stream("object key", 32), stream("object salt", 24)
    vectors = []
    for length in (0, 1, 100, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5):
        plaintext = stream("object plaintext", length)
        ciphertext = encrypt(key, plaintext, b"a context", salt)
        vector = {
            "key": key.hex(),
            "salt": salt.hex(),
            "context": b"a context".hex(),
            "plaintext": f"SHAKE-256('object plaintext', {length})",
            "plaintext_length": length,
            "encrypted_length": len(ciphertext),
            "header": ciphertext[:56].hex(),
            "sha256": hashlib.sha256(ciphertext).hexdigest(),
        }
        if length <= 100:
            vector["ciphertext"] = ciphertext.hex()
        vectors.append(vector)
    return vectors


def refused_objects() -> list[dict[str, str]]:
    key, salt, context = stream("object key", 32), stream("object salt", 24), b"a context"
    good = encrypt(key, stream("object plaintext", 100), context, salt)

    def flipped(at: int) -> bytes:
        return good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]

    cases = [
        ("another key", "wrong_key_or_damaged", stream("another key", 32), context, good),
        ("another context", "wrong_key_or_damaged", key, b"another context", good),
        ("a bit of the salt", "wrong_key_or_damaged", key, context, flipped(0)),
        ("a bit of the commitment", "wrong_key_or_damaged", key, context, flipped(24)),
        ("a bit of the ciphertext", "ciphertext_damaged", key, context, flipped(56)),
        ("a bit of the tag", "ciphertext_damaged", key, context, flipped(len(good) - 1)),
        ("one byte cut off", "ciphertext_damaged", key, context, good[:-1]),
        ("one byte more", "ciphertext_damaged", key, context, good + b"\0"),
        ("nothing after the header", "ciphertext_damaged", key, context, good[:56]),
        ("half a tag", "ciphertext_damaged", key, context, good[:64]),
        ("half a header", "ciphertext_damaged", key, context, good[:28]),
        ("nothing", "ciphertext_damaged", key, context, b""),
    ]
    return [
        {"what": what, "code": code, "key": k.hex(), "context": c.hex(), "ciphertext": ct.hex()}
        for what, code, k, c, ct in cases
    ]


def sealed_vectors() -> list[dict[str, str]]:
    key, study, oid = stream("sealing key", 32), stream("study ref", 16), stream("object id", 16)
    secret, version = stream("data key", 32), (1).to_bytes(4, "big")
    cases = [
        ("seal", b"an aad", secret),
        ("study key", b"study-key\0" + study + version, secret),
        ("object key", b"object-key\0" + oid + study + version, secret),
    ]
    return [
        {
            "what": what,
            "key": key.hex(),
            "aad": aad.hex(),
            "plaintext": plaintext.hex(),
            "sealed": seal(key, plaintext, aad, stream(f"salt of {what}", 24)).hex(),
            "study": study.hex(),
            "object_id": oid.hex(),
        }
        for what, aad, plaintext in cases
    ]


def keystore_vector(kind: str) -> dict[str, str]:
    seed, master, index = stream("identity seed", 32), stream("master key", 32), stream("index key", 32)
    public = bytes(SigningKey(seed).verify_key)
    file_key, passphrase = stream("key file", 32), b"correct horse battery staple"
    protection: dict[str, Any] = {"type": kind}
    if kind == "passphrase":
        salt = stream("argon salt", 16)
        protection |= {"salt": b64(salt), "operations": 1, "memory_bytes": 65536}
        wrapping = expand(pwhash.argon2id.kdf(32, passphrase, salt, 1, 65536), b"leveret/keystore/passphrase/v1", 32)
    else:
        wrapping = expand(file_key, b"leveret/keystore/key-file/v1", 32)
    master_aad = b"master-key\0" + (1).to_bytes(4, "big") + compact(protection).encode()
    document = {
        "format": "leveret-keys",
        "version": 1,
        "public_key": b64(public),
        "protection": protection,
        "key_check": b64(expand(wrapping, b"leveret/keystore/check/v1", 16)),
        "master_version": 1,
        "master": b64(seal(wrapping, master, master_aad, stream("salt 1", 24))),
        "identity": b64(seal(master, seed, b"identity\0" + public, stream("salt 2", 24))),
        "index": b64(seal(master, index, b"index\0" + public, stream("salt 3", 24))),
        "checksum": "",
    }
    document["checksum"] = b64(hashlib.sha256(compact(document).encode()).digest())
    return {
        "kind": kind,
        "key_file": f"leveret-key 1\n{b64(file_key)}\n",
        "passphrase": passphrase.decode(),
        "keys_json": json.dumps(document, indent=2) + "\n",
        "public_key": public.hex(),
        "index_key": index.hex(),
    }


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def label_bytes(fields: dict[str, Any]) -> bytes:
    detail = fields.get("detail")
    flags = fields["report"] * 1 + fields["withdrawn"] * 2 + (detail is not None) * 4
    flags += fields["existence_only"] * 8 + fields["consent"] * 16
    return (
        struct.pack(">BBHHH", 1, flags, fields["regions"], fields["year"], 0)
        + struct.pack(">II", fields["revision"], fields["instances"])
        + bytes.fromhex(fields["ref"])
        + "\\".join(fields["modalities"]).encode().ljust(32, b"\0")
        + (detail["study_date"] if detail else "").encode().ljust(8, b"\0")
        + (detail["study_instance_uid"] if detail else "").encode().ljust(64, b"\0")
        + (detail["description"] if detail else "").encode().ljust(64, b"\0")
    )


def label_fields() -> list[dict[str, Any]]:
    usual: dict[str, Any] = {
        "ref": stream("ref", 16).hex(),
        "withdrawn": False,
        "existence_only": False,
        "report": True,
        "modalities": ["CT", "SR"],
        "regions": 4,
        "year": 2026,
        "instances": 412,
        "revision": 1,
        "consent": False,
        "detail": None,
    }
    detail = {"study_instance_uid": "2.25.1234567890", "study_date": "20261124", "description": "CT Thorax für Prüfung"}
    bare = {"report": False, "modalities": [], "regions": 0, "year": 0, "instances": 0, "revision": 0}
    return [
        usual,
        usual | {"consent": True, "detail": detail},
        usual | {"withdrawn": True, "revision": 2},
        usual | bare | {"existence_only": True},
        usual | bare,
    ]


def entry_vectors(holder: bytes, peer: bytes, labels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    evaluator = ristretto.Evaluator.from_seed(stream("epoch seed", 32), b"leveret/epoch-key/v1")
    token = b"leveret/linkage/1\0name\0MULLER\0JURGEN\0M\x001970-01-01"
    f = bytes(evaluator.evaluate_known_input(token))
    vectors = []
    for index, fields in enumerate(labels):
        info = b"leveret/announce/v1\0" + holder + peer + struct.pack(">QQI", 5, 7, index)
        okm = expand(f, info, 48)
        nonce = stream(f"entry nonce {index}", 24)
        sealed = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(label_bytes(fields), okm[:16], nonce, okm[16:])
        vectors.append(
            {
                "token": token.hex(),
                "epoch_seed": stream("epoch seed", 32).hex(),
                "f": f.hex(),
                "incarnation": 5,
                "epoch": 7,
                "index": index,
                "tag": okm[:16].hex(),
                "key": okm[16:].hex(),
                "nonce": nonce.hex(),
                "label": label_bytes(fields).hex(),
                "entry": (okm[:16] + nonce + sealed).hex(),
            }
        )
    return vectors


def announcement_vectors() -> dict[str, Any]:
    signer = SigningKey(stream("identity seed", 32))
    holder = hashlib.sha256(bytes(signer.verify_key)).digest()
    peer = hashlib.sha256(bytes(SigningKey(stream("peer seed", 32)).verify_key)).digest()
    labels = label_fields()
    entries = entry_vectors(holder, peer, labels)
    evaluator = ristretto.Evaluator.from_seed(stream("epoch seed", 32), b"leveret/epoch-key/v1")
    real = [bytes.fromhex(entry["entry"]) for entry in entries]
    everything = sorted(real + [stream(f"dummy {index}", 256) for index in range(256 - len(real))])
    header = b"LVRTFEED" + struct.pack(">HBB", 1, 1, 0) + holder + peer + struct.pack(">QQQ", 5, 7, 3)
    header += hashlib.sha256(b"the batch before").digest() + struct.pack(">Q", 1795478400)
    header += bytes(evaluator.public_key.serialize()) + struct.pack(">I", 256)
    body = header + b"".join(everything)
    signature = signer.sign(b"leveret/feed/v1\0" + body).signature
    return {
        "identity_seed": stream("identity seed", 32).hex(),
        "peer_seed": stream("peer seed", 32).hex(),
        "labels": [{"fields": fields, "bytes": label_bytes(fields).hex()} for fields in labels],
        "entries": entries,
        "batch": {
            "dummies": "SHAKE-256('dummy N', 256), N = 0 … 250",
            "header": header.hex(),
            "signature": signature.hex(),
            "length": len(body) + 64,
            "sha256": hashlib.sha256(body + signature).hexdigest(),
        },
        "refused_headers": refused_headers(),
    }


def refused_headers() -> list[dict[str, Any]]:
    """Changes to the batch above that are refused although they were signed."""
    cases = [
        ("another magic", 0, b"X"),
        ("a later version", 8, b"\0\2"),
        ("another rule set", 10, b"\2"),
        ("a byte that must be zero", 11, b"\1"),
        ("another holder", 12, bytes(32)),
        ("sequence 0 with a previous hash", 92, bytes(8)),
        ("a previous hash of zeros", 100, bytes(32)),
        ("the identity as VOPRF key", 140, bytes(32)),
        ("a VOPRF key that is no element", 140, b"\xff" * 32),
        ("255 entries", 172, struct.pack(">I", 255)),
        ("257 entries", 172, struct.pack(">I", 257)),
        ("512 entries claimed", 172, struct.pack(">I", 512)),
        ("four billion entries claimed", 172, b"\xff" * 4),
    ]
    return [{"what": what, "offset": offset, "bytes": new.hex()} for what, offset, new in cases]


def sharecode_vectors() -> list[dict[str, str]]:
    vectors = []
    holder, requester = stream("holder", 32), stream("requester", 32)
    for name in ("one", "two", "three"):
        body = "".join(ALPHABET[byte % 32] for byte in stream(f"code {name}", 19))
        total = 0
        for char in body:  # a polynomial over GF(2)[x] / (x^5 + x^2 + 1), evaluated at x
            total ^= ALPHABET.index(char)
            total = (total << 1) ^ (0x25 if total & 16 else 0)
        code = body + ALPHABET[total]
        derived = hkdf256(code.encode(), b"leveret/share-code/v1", 48)
        digest = hashlib.sha256(b"a request").digest()
        mac = hmac.digest(derived[16:], b"leveret/share-code-proof/v1\0" + digest + holder + requester, "sha256")
        text = "-".join(code[at : at + 4] for at in range(0, 20, 4))
        vectors.append(
            {
                "text": text,
                "url": f"LEVERET:SHARE/{text}",
                "lookup_id": derived[:16].hex(),
                "mac_key": derived[16:].hex(),
                "request_digest": digest.hex(),
                "holder": holder.hex(),
                "requester": requester.hex(),
                "proof": mac.hex(),
            }
        )
    return vectors


def shuffle(data: bytes, width: int) -> bytes:
    whole = len(data) // width * width
    return b"".join(data[place:whole:width] for place in range(width)) + data[whole:]


def zstd_frame(content: bytes) -> bytes:
    """RFC 8878 with raw and RLE blocks only: 4 bytes of content size, one segment, no checksum, no dictionary."""
    frame = bytes.fromhex("28b52ffd a0") + struct.pack("<I", len(content))
    for at in range(0, len(content), 1 << 17):
        piece = content[at : at + (1 << 17)]
        is_last, is_run = at + len(piece) == len(content), len(set(piece)) == 1
        head = is_last | is_run << 1 | len(piece) << 3
        frame += head.to_bytes(3, "little") + (piece[:1] if is_run else piece)
    return frame


def pack(data: bytes, width: int) -> bytes:
    blocks = []
    for at in range(0, len(data), CHUNK):
        block = data[at : at + CHUNK]
        frame = zstd_frame(shuffle(block, width))
        blocks.append(frame if len(frame) < len(block) else block)
    return b"".join((*blocks, *(struct.pack(">I", len(block)) for block in blocks), bytes([width, 0, 0, 0])))


def packed_vectors() -> dict[str, Any]:
    """Packed data sets, those that must be refused, and one as the body of a record."""
    pixels = bytes.fromhex("e803") * (CHUNK // 2)
    data = {
        "one block of equal pixels": (pixels, 2),
        "two blocks, the second as it is": (pixels + stream("packed", 101), 2),
        "odd end, four bytes wide": (bytes(6001), 4),
        "not shuffled": (b"Z" * 5000, 1),
        "empty": (b"", 2),
    }
    vectors = [
        {
            "what": what,
            "size": len(plain),
            "sha256": hashlib.sha256(plain).hexdigest(),
            "width": width,
            "packed": pack(plain, width).hex(),
        }
        for what, (plain, width) in data.items()
    ]
    key, space, object_id = stream("packed object key", 32), stream("packed space", 16), stream("packed object", 16)
    context = b"leveret/record/v1\0body" + struct.pack(">BI", 1, 1) + object_id + space
    return {
        "shuffled": [
            {"width": width, "data": sample.hex(), "shuffled": shuffle(sample, width).hex()}
            for sample, width in ((stream("shuffled", 19), width) for width in (1, 2, 4, 8))
        ],
        "packed": vectors,
        "refused": refused_packed(pixels),
        "record": {
            "object_key": key.hex(),
            "space": space.hex(),
            "object_id": object_id.hex(),
            "key_version": 1,
            "packed": "two blocks, the second as it is",
            "body": encrypt(key, pack(pixels + stream("packed", 101), 2), context, stream("packed salt", 24)).hex(),
        },
    }


def refused_packed(pixels: bytes) -> list[dict[str, Any]]:
    """Packed forms of a data set of one full block that a reader refuses."""
    frame = zstd_frame(shuffle(pixels, 2))
    tail = struct.pack(">I", len(frame)) + b"\2\0\0\0"
    window = frame[:4] + b"\x80\x50" + frame[5:]  # no single segment: the window descriptor says 1 MiB
    cases = {
        "a frame of another size": frame[:5] + struct.pack("<I", CHUNK - 1) + frame[9:] + tail,
        "a frame that claims 4 GiB": frame[:5] + b"\xff" * 4 + frame[9:] + tail,
        "a window of 1 MiB": window + struct.pack(">I", len(window)) + b"\2\0\0\0",
        "bytes behind the frame": frame + b"\0" + struct.pack(">I", len(frame) + 1) + b"\2\0\0\0",
        "no frame": bytes(len(frame)) + tail,
        "a block of no bytes": bytes(4) + b"\2\0\0\0",
        "a block longer than its data": frame + struct.pack(">I", CHUNK + 1) + b"\2\0\0\0",
        "a sum that is not the length": frame + b"\0" + tail,
        "a width of 3": frame + tail[:4] + b"\3\0\0\0",
        "a byte that must be zero": frame + tail[:4] + b"\2\0\0\1",
    }
    return [{"what": what, "size": CHUNK, "packed": packed.hex()} for what, packed in cases.items()]


def write(name: str, content: Any) -> None:
    (HERE / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(
        "object_vectors.json",
        {
            "objects": object_vectors(),
            "refused": refused_objects(),
            "sealed": sealed_vectors(),
            "keystores": [keystore_vector(kind) for kind in ("key_file", "systemd_credential", "passphrase")],
        },
    )
    write("announcement_vectors.json", announcement_vectors())
    write("sharecode_vectors.json", sharecode_vectors())
    write("packed_vectors.json", packed_vectors())
