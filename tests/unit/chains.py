"""What the tests of the supply chain's client share: a client, calls, awkward servers."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import threading
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chalicelib.adapters.supply_chain import HttpSupplyChain
from chalicelib.domain.delivery import Outcome, Verdict
from chalicelib.domain.times import now_utc
from tests.fakes import FakeClock, a_product

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from chalicelib.domain.product import Product
    from tests.http import Behaviour, ScriptedServer

TIMEOUT = 0.5
TRACE = "Root=1-67891233-abcdef012345678912345678"
SIGNING_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NEXT_SIGNING_SECRET = "whsec_bmV4dC1vZi10aGUtc2lnbmluZy1zZWNyZXRz"


def a_chain(
    url: str,
    *,
    timeout: float = 5.0,
    reject: Collection[int] = (413, 422),
    secrets: Collection[str] = (),
    clock: Callable[[], dt.datetime] | None = None,
) -> HttpSupplyChain:
    return HttpSupplyChain(
        url,
        timeout=timeout,
        reject_statuses=reject,
        signing_secrets=secrets,
        clock=clock or FakeClock(),
        connections=8,
    )


def delivered(server: ScriptedServer, product: Product, trace: str | None = None) -> Outcome:
    """Deliver and see that it worked."""
    outcome = a_chain(server.url).deliver(product, trace)
    assert outcome.verdict is Verdict.DELIVERED, outcome
    return outcome


def outcome_of(
    server: ScriptedServer, *answers: Behaviour, product: Product | None = None
) -> Outcome:
    """Deliver to a server that answers like this."""
    server.answers.extend(answers)
    return a_chain(server.url, timeout=3).deliver(product or a_product(), None)


def timed_out(chain: HttpSupplyChain) -> Outcome:
    """Deliver, and see that it ended in time and for want of it.

    In a thread, so that a call without end fails the test and no more.
    """
    outcomes: list[Outcome] = []
    call = threading.Thread(
        target=lambda: outcomes.append(chain.deliver(a_product(), None)), daemon=True
    )
    call.start()
    call.join(TIMEOUT + 1.5)
    assert outcomes, "the call outlives its deadline"
    assert outcomes[0].verdict is Verdict.FAILED
    assert outcomes[0].attempt.error == f"no answer within {TIMEOUT:g} s", outcomes
    return outcomes[0]


class full_backlog:  # noqa: N801 - reads as a block
    """A port of 127.0.0.1 where a connection is neither accepted nor refused."""

    def __enter__(self) -> int:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self._waiting: list[socket.socket] = []
        address = self._listener.getsockname()
        port: int = address[1]
        for _ in range(8):
            waiting = socket.socket()
            waiting.settimeout(0.1)
            self._waiting.append(waiting)
            try:
                waiting.connect(address)
            except TimeoutError:
                return port
        raise AssertionError("the backlog does not fill up")

    def __exit__(self, *_: object) -> None:
        for sock in (*self._waiting, self._listener):
            sock.close()


def self_signed(folder: Path) -> Path:
    """Write a key and a certificate for 127.0.0.1 into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = now_utc()
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(host, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "tls.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path
