"""A NATS server that lets in only who has credentials: the operator, account and user of a test.

What `nsc` would make, by the rules of the NATS JWT format, version 2 (docs.nats.io, "JWTs").
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from typing import TYPE_CHECKING, Any

import nkeys

if TYPE_CHECKING:
    from pathlib import Path

Claims = dict[str, Any]
UNLIMITED = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}


def a_seed(kind: int) -> bytes:
    """A new private key of an operator, account or user, as NATS writes it."""
    seed: bytes = nkeys.encode_seed(os.urandom(32), kind)
    return seed


def public(seed: bytes) -> str:
    """The public key of a private one."""
    key: bytes = nkeys.from_seed(bytearray(seed)).public_key
    return key.decode()


def signed(issuer: bytes, subject: bytes, kind: str, **claims: object) -> str:
    """A token in which `issuer` vouches for `subject`."""
    content: Claims = {"iat": int(time.time()), "iss": public(issuer), "sub": public(subject)}
    content |= {"name": kind, "nats": {"type": kind, "version": 2, **claims}}
    digest = hashlib.sha256(json.dumps(content).encode()).digest()
    content["jti"] = base64.b32encode(digest).decode().rstrip("=")
    text = ".".join(_part(part) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, content))
    signature = nkeys.from_seed(bytearray(issuer)).sign(text.encode())
    return f"{text}.{_base64(signature)}"


def _part(content: Claims) -> str:
    return _base64(json.dumps(content).encode())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def guarded(folder: Path, port: int) -> tuple[Path, str]:
    """The server's configuration, and the text of a `.creds` file that it lets in."""
    operator = a_seed(nkeys.PREFIX_BYTE_OPERATOR)
    system, account = a_seed(nkeys.PREFIX_BYTE_ACCOUNT), a_seed(nkeys.PREFIX_BYTE_ACCOUNT)
    user = a_seed(nkeys.PREFIX_BYTE_USER)
    everything = {"subs": -1, "data": -1, "payload": -1}
    limits = {**everything, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1}
    accounts = {
        public(system): signed(operator, system, "account", limits=limits),
        public(account): signed(operator, account, "account", limits=limits | UNLIMITED),
    }
    preload = "\n".join(f"  {key}: {token}" for key, token in accounts.items())
    config = folder / "nats.conf"
    config.write_text(
        f"listen: 127.0.0.1:{port}\n"
        f"jetstream {{ store_dir: {json.dumps(str(folder / 'data'))} }}\n"
        f"operator: {signed(operator, operator, 'operator')}\n"
        f"system_account: {public(system)}\n"
        f"resolver: MEMORY\nresolver_preload {{\n{preload}\n}}\n"
    )
    credentials = (
        f"-----BEGIN NATS USER JWT-----\n{signed(account, user, 'user', **everything)}\n"
        "------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.decode()}\n------END USER NKEY SEED------\n"
    )
    return config, credentials
