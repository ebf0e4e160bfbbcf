"""Calls that are signed, and by whom, as the fake supply chain judges them."""

from __future__ import annotations

import pytest

from chalicelib.domain.delivery import Verdict
from chalicelib.domain.times import now_utc
from tests.fakes import START, FakeClock, a_product
from tests.unit.chains import NEXT_SIGNING_SECRET, SIGNING_SECRET, a_chain
from tests.unit.fake_supply_chain.client import Client

OLD, NEW = SIGNING_SECRET, NEXT_SIGNING_SECRET


@pytest.mark.parametrize("known", [[OLD], [NEW], [OLD, NEW]])
@pytest.mark.parametrize("deleted", [False, True])
def test_in_a_rotation_calls_are_accepted_whichever_secret_is_known(
    client: Client, known: list[str], deleted: bool
) -> None:
    client.control(signingSecrets=known)
    chain = a_chain(client.url, secrets=[NEW, OLD], clock=now_utc)
    product = a_product(version=1, deleted_at=START if deleted else None)
    assert chain.deliver(product, None).verdict is Verdict.DELIVERED


def test_the_question_for_a_product_is_signed_too(client: Client) -> None:
    client.control(signingSecrets=[OLD])
    answer = a_chain(client.url, secrets=[NEW, OLD], clock=now_utc).ask(a_product())
    assert answer is not None
    assert answer.status == 404


@pytest.mark.parametrize("secrets", [[], [NEW]])
def test_a_call_without_a_known_signature_is_refused(client: Client, secrets: list[str]) -> None:
    client.control(signingSecrets=[OLD])
    outcome = a_chain(client.url, secrets=secrets, clock=now_utc).deliver(a_product(), None)
    assert (outcome.verdict, outcome.attempt.status) == (Verdict.FAILED, 401)
    assert client.held() == []
    assert client.outcomes() == ["rejected"]


def test_an_old_call_is_refused(client: Client) -> None:
    client.control(signingSecrets=[OLD])
    outcome = a_chain(client.url, secrets=[OLD], clock=FakeClock()).deliver(a_product(), None)
    assert outcome.attempt.status == 401


@pytest.mark.parametrize("signature", ["v1", "v1,!", "v1,a,b", ""])
def test_a_signature_of_another_form_is_refused(client: Client, signature: str) -> None:
    client.control(signingSecrets=[OLD])
    headers = {
        "webhook-id": "p1:0",
        "webhook-timestamp": str(int(now_utc().timestamp())),
        "webhook-signature": signature,
    }
    assert client.post(headers=headers, version=0).status_code == 401


def test_without_secrets_signatures_are_not_looked_at(client: Client) -> None:
    assert client.post(headers={"webhook-signature": "v1"}, version=0).status_code == 201
