"""Bearer tokens: what proves something, and everything that does not."""

from __future__ import annotations

import base64
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import jwt
import jwt.jwk_set_cache
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from chalicelib.adapters import tokens
from chalicelib.adapters.tokens import JwtVerifier
from chalicelib.domain.errors import InvalidTokenError
from tests.http import ScriptedServer, hang_up, refused_port, reply, reset
from tests.support import eventually
from tests.unit.conftest import SECRET, a_token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chalicelib.usecases.ports import Caller
    from tests.http import Behaviour

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())


def verify(token: str, scheme: str = "Bearer") -> Caller:
    return JwtVerifier(SECRET, None).verify(f"{scheme} {token}")


def refused(authorization: str, verifier: JwtVerifier | None = None) -> str:
    with pytest.raises(InvalidTokenError) as caught:
        (verifier or JwtVerifier(SECRET, None)).verify(authorization)
    return str(caught.value)


# ---- our own secret ----


def test_a_good_token_names_its_caller_and_scopes() -> None:
    caller = verify(a_token("products:read", "sync:admin", sub="shop"))
    assert (caller.principal, caller.scopes) == ("shop", frozenset({"products:read", "sync:admin"}))


@pytest.mark.parametrize("scope", ["", "   "])
def test_a_token_may_have_no_scopes(scope: str) -> None:
    assert verify(a_token(scope=scope)).scopes == set()


def test_scopes_may_be_any_number_of_spaces_apart() -> None:
    assert verify(a_token(scope=" a  b ")).scopes == {"a", "b"}


def test_a_token_without_a_scope_claim_allows_nothing() -> None:
    token = jwt.encode({"exp": time.time() + 60}, SECRET)
    caller = verify(token)
    assert (caller.principal, caller.scopes) == ("", frozenset())


@pytest.mark.parametrize("scope", [["products:read"], 1, {"a": 1}, True, None])
def test_a_scope_that_is_no_text_is_refused(scope: object) -> None:
    refused(f"Bearer {a_token(scope=scope)}")


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
def test_the_scheme_may_be_in_any_case(scheme: str) -> None:
    assert verify(a_token(), scheme).principal == "tester"


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Basic dTpw", "Bearerx", "Token"]
)
def test_what_is_no_bearer_token_is_refused(authorization: str) -> None:
    refused(authorization)


def test_a_bare_token_is_refused() -> None:
    refused(a_token())


@pytest.mark.parametrize("scheme", ["Basic", "Token", "JWT"])
def test_a_good_token_under_another_scheme_is_refused(scheme: str) -> None:
    refused(f"{scheme} {a_token()}")


def test_an_expired_token_is_refused() -> None:
    assert "expired" in refused(f"Bearer {a_token(exp=time.time() - 10)}")


def test_the_clocks_of_provider_and_catalog_may_differ_by_seconds() -> None:
    assert verify(a_token(exp=time.time() - 1, nbf=time.time() + 2)).principal == "tester"


@pytest.mark.parametrize("audience", ["catalog", ["catalog", "other"]])
def test_a_token_may_name_its_audience(audience: object) -> None:
    assert verify(a_token(aud=audience)).principal == "tester"


def test_a_token_without_expiry_is_refused() -> None:
    assert "exp" in refused(f"Bearer {jwt.encode({'scope': 'products:read'}, SECRET)}")


@pytest.mark.parametrize("exp", ["soon", [1], True])
def test_an_expiry_that_is_no_time_is_refused(exp: object) -> None:
    refused(f"Bearer {forged({'alg': 'HS256'}, {'exp': exp}, SECRET)}")


def test_a_token_of_the_future_is_refused() -> None:
    refused(f"Bearer {a_token(nbf=time.time() + 100)}")


def test_a_token_of_another_secret_is_refused() -> None:
    refused(f"Bearer {a_token(secret='another secret that has enough characters')}")


def test_a_token_with_a_changed_payload_is_refused() -> None:
    head, _, signature = a_token("products:read").split(".")
    _, payload, _ = a_token("sync:admin", secret="x" * 32).split(".")
    refused(f"Bearer {head}.{payload}.{signature}")


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS384", "HS512", "RS256"])
def test_any_other_algorithm_is_refused(algorithm: str) -> None:
    claims = {"exp": time.time() + 60, "scope": "sync:admin"}
    assert refused(f"Bearer {forged({'alg': algorithm}, claims, SECRET)}")
    assert refused(f"Bearer {unsigned({'alg': algorithm}, claims)}")


@pytest.mark.parametrize("secret_and_keys", [True, False])
@pytest.mark.parametrize("algorithm", [None, [], {}, 256, True, ["HS256"]])
def test_an_algorithm_that_is_no_text_is_refused(
    algorithm: object, *, secret_and_keys: bool
) -> None:
    url = f"http://127.0.0.1:{refused_port()}" if secret_and_keys else None
    refused(f"Bearer {unsigned({'alg': algorithm}, {})}", JwtVerifier(SECRET, url))


@pytest.mark.parametrize(
    "token",
    ["x", "a.b.c", "..", "é.é.é", "e30.e30.", "W10.W10.W10", "\x00", "a b c", "bnVsbA.bnVsbA."],
)
def test_what_is_no_token_at_all_is_refused(token: str) -> None:
    refused(f"Bearer {token}")


def test_a_token_whose_header_is_nested_without_end_is_refused() -> None:
    deep = base64.urlsafe_b64encode(b"[" * 100_000).decode().rstrip("=")
    refused(f"Bearer {deep}.{encoded({})}.")


def encoded(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def unsigned(header: Mapping[str, object], claims: Mapping[str, object]) -> str:
    return f"{encoded({'typ': 'JWT', **header})}.{encoded(claims)}."


def forged(header: Mapping[str, object], claims: Mapping[str, object], secret: str) -> str:
    """Sign as HS256 does, whatever the header says; the library would refuse some of these."""
    content = f"{encoded({'typ': 'JWT', **header})}.{encoded(claims)}"
    hmac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = hmac.sign(content.encode(), secret.encode())
    return f"{content}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def test_the_forger_of_these_tests_can_forge() -> None:
    token = forged({"alg": "HS256"}, {"exp": time.time() + 60, "sub": "me"}, SECRET)
    assert verify(token).principal == "me"


# ---- two secrets during a rotation ----

PREVIOUS = "the secret of before, of enough characters too"


class Notes(list[tuple[str, int]]):
    """What a verifier says of the previous secret."""

    def __call__(self, subject: str, expires: int) -> None:
        self.append((subject, expires))


def in_rotation(notes: Notes | None = None) -> JwtVerifier:
    note = Notes() if notes is None else notes
    return JwtVerifier(SECRET, None, previous_secret=PREVIOUS, note_previous=note)


@pytest.mark.parametrize("secret", [SECRET, PREVIOUS])
def test_in_a_rotation_tokens_of_both_secrets_are_good(secret: str) -> None:
    caller = in_rotation().verify(f"Bearer {a_token('sync:admin', secret=secret, sub='shop')}")
    assert (caller.principal, caller.scopes) == ("shop", frozenset({"sync:admin"}))


def test_after_a_rotation_a_token_of_the_previous_secret_is_refused() -> None:
    assert "Signature" in refused(f"Bearer {a_token(secret=PREVIOUS)}")


def test_in_a_rotation_a_token_of_a_third_secret_is_refused() -> None:
    refused(f"Bearer {a_token(secret='x' * 32)}", in_rotation())


def test_the_claims_of_a_token_of_the_previous_secret_count_too() -> None:
    token = a_token(secret=PREVIOUS, exp=time.time() - 10)
    assert "expired" in refused(f"Bearer {token}", in_rotation())


def test_a_token_of_the_current_secret_that_has_expired_is_said_to_be_just_that() -> None:
    assert "expired" in refused(f"Bearer {a_token(exp=time.time() - 10)}", in_rotation())


def test_who_still_uses_the_previous_secret_is_told_and_until_when() -> None:
    notes, until = Notes(), int(time.time()) + 50
    verifier = in_rotation(notes)
    verifier.verify(f"Bearer {a_token()}")
    assert notes == []
    verifier.verify(f"Bearer {a_token(secret=PREVIOUS, sub='shop', exp=until)}")
    assert notes == [("shop", until)]


def test_the_use_of_the_previous_secret_is_told_once_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes = Notes()
    verifier = in_rotation(notes)

    def used_by(subject: str) -> None:
        token = a_token(secret=PREVIOUS, sub=subject, exp=time.time() + 3600)
        verifier.verify(f"Bearer {token}")

    used_by("one")
    used_by("two")
    monkeypatch.setattr(tokens, "time", Later(tokens.NOTED_SECONDS))
    used_by("three")

    assert [subject for subject, _ in notes] == ["one", "three"]


def test_a_refused_token_of_the_previous_secret_is_no_use_of_it() -> None:
    notes = Notes()
    refused(f"Bearer {a_token(secret=PREVIOUS, exp=1)}", in_rotation(notes))
    assert notes == []


# ---- the issuer and the audience ----


def strict(secret: str | None = SECRET, url: str | None = None) -> JwtVerifier:
    return JwtVerifier(secret, url, issuer="https://idp/", audience="catalog")


OURS: dict[str, object] = {"iss": "https://idp/", "aud": "catalog"}


@pytest.mark.parametrize("audience", ["catalog", ["other", "catalog"]])
def test_a_token_for_us_is_good(audience: object) -> None:
    token = a_token(iss="https://idp/", aud=audience)
    assert strict().verify(f"Bearer {token}").principal == "tester"


FOREIGN = [
    ({"iss": "https://idp"}, "issuer"),
    ({"iss": "https://idp/other"}, "issuer"),
    ({"iss": ["https://idp/"]}, "Issuer"),
    ({"iss": None}, "Issuer"),
    ({"aud": "catalogue"}, "Audience"),
    ({"aud": ["other"]}, "Audience"),
    ({"aud": []}, "aud"),
    ({"aud": {"catalog": 1}}, "claim"),
    ({"aud": None}, "aud"),
]
"""What is wrong with a token for somebody else, and a word of the reason."""


@pytest.mark.parametrize(("claims", "word"), FOREIGN)
def test_a_token_for_somebody_else_is_refused_with_the_reason(
    claims: dict[str, object], word: str
) -> None:
    token = forged({"alg": "HS256"}, {"exp": time.time() + 60, **OURS, **claims}, SECRET)
    assert word in refused(f"Bearer {token}", strict())


@pytest.mark.parametrize("missing", ["iss", "aud"])
def test_a_token_that_names_no_issuer_or_audience_is_refused(missing: str) -> None:
    claims = {name: text for name, text in OURS.items() if name != missing}
    token = forged({"alg": "HS256"}, {"exp": time.time() + 60, **claims}, SECRET)
    assert f'"{missing}"' in refused(f"Bearer {token}", strict())


def test_a_token_of_the_previous_secret_must_be_for_us_too() -> None:
    verifier = JwtVerifier(SECRET, None, previous_secret=PREVIOUS, audience="catalog")
    refused(f"Bearer {a_token(secret=PREVIOUS, aud='other')}", verifier)


# ---- the keys of an identity provider ----


def jwk(key: Key, kid: str) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        content = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        content = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**content, "kid": kid, "use": "sig"}


def key_set(**keys: Key) -> Behaviour:
    return reply(200, json.dumps({"keys": [jwk(key, kid) for kid, key in keys.items()]}))


@pytest.fixture
def provider(server: ScriptedServer) -> ScriptedServer:
    """An identity provider with one key of each kind."""
    server.default = key_set(rsa=RSA_KEY, ec=EC_KEY)
    return server


def signed(kid: str | None = "ec", key: Key = EC_KEY, /, **claims: object) -> str:
    algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    headers = {} if kid is None else {"kid": kid}
    content = {"sub": "them", "exp": time.time() + 60, "scope": "products:read", **claims}
    return jwt.encode(content, key, algorithm=algorithm, headers=headers)


def keys_of(server: ScriptedServer, secret: str | None = None) -> JwtVerifier:
    return JwtVerifier(secret, f"{server.url}/keys")


@pytest.mark.parametrize(("kid", "key"), [("rsa", RSA_KEY), ("ec", EC_KEY)])
def test_a_token_of_the_provider_is_good(provider: ScriptedServer, kid: str, key: Key) -> None:
    caller = keys_of(provider).verify(f"Bearer {signed(kid, key)}")
    assert (caller.principal, caller.scopes) == ("them", frozenset({"products:read"}))


def test_a_token_of_the_provider_for_another_application_is_refused(
    provider: ScriptedServer,
) -> None:
    verifier = strict(None, f"{provider.url}/keys")
    assert verifier.verify(f"Bearer {signed(**OURS)}").principal == "them"
    assert "Audience" in refused(f"Bearer {signed(**{**OURS, 'aud': 'another'})}", verifier)


def test_the_provider_is_asked_once_for_many_tokens(provider: ScriptedServer) -> None:
    verifier = keys_of(provider)
    for number in range(5):
        verifier.verify(f"Bearer {signed(sub=str(number))}")
    assert [seen.path for seen in provider.seen] == ["/keys"]


def test_nobody_is_asked_before_there_is_a_token(provider: ScriptedServer) -> None:
    keys_of(provider)
    assert provider.seen == []


@pytest.mark.parametrize("claims", [{"exp": 1}, {"exp": None}, {"nbf": 2**40}])
def test_the_claims_of_a_provider_count_too(
    provider: ScriptedServer, claims: dict[str, object]
) -> None:
    refused(f"Bearer {signed(**claims)}", keys_of(provider))


def test_a_token_of_another_key_is_refused(provider: ScriptedServer) -> None:
    refused(f"Bearer {signed('ec', OTHER_KEY)}", keys_of(provider))


@pytest.mark.parametrize("kid", ["unknown", None, ""])
def test_a_token_of_an_unknown_key_is_refused(provider: ScriptedServer, kid: str | None) -> None:
    refused(f"Bearer {signed(kid)}", keys_of(provider))


def test_many_tokens_of_unknown_keys_ask_the_provider_once(provider: ScriptedServer) -> None:
    verifier = keys_of(provider)
    for number in range(5):
        assert "signing key" in refused(f"Bearer {signed(f'unknown-{number}')}", verifier)
    assert len(provider.seen) == 1


def test_a_key_that_the_provider_has_added_is_found_after_half_a_minute(
    provider: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = keys_of(provider)
    verifier.verify(f"Bearer {signed()}")
    provider.default = key_set(ec=EC_KEY, new=OTHER_KEY)
    monkeypatch.setattr(jwt.jwks_client, "time", Later(31))
    assert verifier.verify(f"Bearer {signed('new', OTHER_KEY)}").principal == "them"


def test_a_key_used_as_another_kind_is_refused(provider: ScriptedServer) -> None:
    refused(f"Bearer {signed('rsa', EC_KEY)}", keys_of(provider))


def public_pem(key: Key) -> str:
    public = key.public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem.decode()


@pytest.mark.parametrize("own_secret", [None, SECRET])
@pytest.mark.parametrize(("kid", "key"), [("rsa", RSA_KEY), ("ec", EC_KEY)])
def test_a_public_key_is_no_secret(
    provider: ScriptedServer, kid: str, key: Key, own_secret: str | None
) -> None:
    claims = {"exp": time.time() + 60, "scope": "sync:admin"}
    for secret in (public_pem(key), public_pem(key).strip()):
        token = forged({"alg": "HS256", "kid": kid}, claims, secret)
        refused(f"Bearer {token}", keys_of(provider, own_secret))


def test_our_own_secret_means_nothing_where_only_the_provider_signs(
    provider: ScriptedServer,
) -> None:
    refused(f"Bearer {a_token()}", keys_of(provider))


def test_both_kinds_of_token_are_good_where_both_are_set(provider: ScriptedServer) -> None:
    verifier = keys_of(provider, SECRET)
    callers = [verifier.verify(f"Bearer {token}").principal for token in (a_token(), signed())]
    assert callers == ["tester", "them"]


def test_a_token_of_the_provider_is_refused_where_only_our_secret_signs() -> None:
    refused(f"Bearer {signed()}")


def test_a_key_that_the_provider_has_withdrawn_is_refused_after_six_minutes(
    provider: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier, token = keys_of(provider), signed(exp=time.time() + 3600)
    verifier.verify(f"Bearer {token}")
    provider.default = key_set(ec=OTHER_KEY)
    later = Later(361)
    monkeypatch.setattr(tokens, "time", later)
    monkeypatch.setattr(jwt.jwk_set_cache, "time", later)
    monkeypatch.setattr(jwt.jwks_client, "time", later)
    refused(f"Bearer {token}", verifier)


class Later:
    """The module `time`, so many seconds later."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def monotonic(self) -> float:
        return time.monotonic() + self._seconds

    def time(self) -> float:
        return time.time() + self._seconds


# ---- tokens that were verified a moment ago ----


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens whose signature is checked."""
    checked: list[str] = []
    decode = jwt.decode

    def noted(token: str, *rest: Any, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - PyJWT's
        checked.append(token)
        return decode(token, *rest, **options)

    monkeypatch.setattr(jwt, "decode", noted)
    return checked


def test_a_token_is_not_checked_again_a_moment_later(decoded: list[str]) -> None:
    verifier, token = JwtVerifier(SECRET, None), a_token("sync:admin", sub="shop")

    callers = [verifier.verify(f"Bearer {token}") for _ in range(3)]

    assert decoded == [token]
    assert {caller.principal for caller in callers} == {"shop"}
    assert {caller.scopes for caller in callers} == {frozenset({"sync:admin"})}


def test_a_token_is_checked_again_after_a_minute(
    decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier, token = JwtVerifier(SECRET, None), a_token(exp=time.time() + 3600)
    verifier.verify(f"Bearer {token}")
    monkeypatch.setattr(tokens, "time", Later(tokens.KNOWN_SECONDS))

    verifier.verify(f"Bearer {token}")

    assert decoded == [token, token]


def test_a_token_is_checked_again_when_it_has_expired(
    decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier, token = JwtVerifier(SECRET, None), a_token(exp=time.time() + 10)
    verifier.verify(f"Bearer {token}")
    monkeypatch.setattr(tokens, "time", Later(11))

    verifier.verify(f"Bearer {token}")

    assert decoded == [token, token]


def test_a_token_that_differs_in_its_signature_alone_is_refused() -> None:
    verifier, token = JwtVerifier(SECRET, None), a_token()
    verifier.verify(f"Bearer {token}")

    refused(f"Bearer {token[:-5]}AAAAA", verifier)


def test_only_so_many_tokens_are_kept() -> None:
    verifier = JwtVerifier(SECRET, None)
    for number in range(2 * tokens.KNOWN_LIMIT):
        verifier.verify(f"Bearer {a_token(sub=str(number))}")
        assert len(verifier._known) <= tokens.KNOWN_LIMIT


# ---- a provider that is away ----


@pytest.mark.parametrize("behaviour", [hang_up, reset, reply(500), reply(302, Location="/other")])
def test_a_provider_that_cannot_answer_is_not_the_tokens_fault(
    server: ScriptedServer, behaviour: Behaviour
) -> None:
    server.default = behaviour
    with pytest.raises(jwt.PyJWKClientConnectionError):
        keys_of(server).verify(f"Bearer {signed()}")


def test_a_provider_that_cannot_be_reached_is_not_the_tokens_fault() -> None:
    verifier = JwtVerifier(None, f"http://127.0.0.1:{refused_port()}")
    with pytest.raises(jwt.PyJWKClientConnectionError):
        verifier.verify(f"Bearer {signed()}")


@pytest.mark.parametrize("body", ["<html>down</html>", "", "[]", '{"keys": []}', "{}"])
def test_a_provider_that_answers_rubbish_is_not_the_tokens_fault(
    server: ScriptedServer, body: str
) -> None:
    server.default = reply(200, body)
    with pytest.raises(jwt.PyJWKClientConnectionError):
        keys_of(server).verify(f"Bearer {signed()}")


def not_judged(verifier: JwtVerifier, token: str) -> None:
    with pytest.raises(jwt.PyJWKClientConnectionError):
        verifier.verify(f"Bearer {token}")


def test_a_provider_that_comes_back_is_asked_again(
    provider: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.answers.append(reply(503))
    verifier = keys_of(provider)
    not_judged(verifier, signed())
    monkeypatch.setattr(tokens, "time", Later(tokens.PROVIDER_SECONDS))
    assert verifier.verify(f"Bearer {signed()}").principal == "them"


def test_a_provider_that_fails_is_left_alone_for_a_while(provider: ScriptedServer) -> None:
    provider.answers.append(reply(503))
    verifier = keys_of(provider)
    for _ in range(3):
        not_judged(verifier, signed())
    assert len(provider.seen) == 1


def test_a_provider_that_says_nothing_is_not_waited_for(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "PROVIDER_SECONDS", 0.1)
    server.default = server.silent
    not_judged(keys_of(server), signed())
    assert server.left.wait(5)


@pytest.mark.parametrize("answer", [reply(503), reply(200, "<html>down</html>"), hang_up])
def test_known_keys_are_good_while_a_new_one_cannot_be_asked_for(
    answer: Behaviour, provider: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = keys_of(provider)
    verifier.verify(f"Bearer {signed()}")
    provider.default = answer
    monkeypatch.setattr(jwt.jwks_client, "time", Later(31))
    for number in range(3):
        not_judged(verifier, signed(f"new-{number}", OTHER_KEY))
        caller = verifier.verify(f"Bearer {signed(sub=str(number))}")
        assert caller.principal == str(number)
    assert len(provider.seen) == 2


def test_a_known_key_waits_for_nobody_who_asks_for_another(
    provider: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = keys_of(provider)
    verifier.verify(f"Bearer {signed()}")
    provider.default = provider.silent
    monkeypatch.setattr(jwt.jwks_client, "time", Later(31))
    asking = threading.Thread(
        target=lambda: not_judged(verifier, signed("new", OTHER_KEY)), daemon=True
    )
    asking.start()
    eventually(lambda: len(provider.seen) == 2)

    verifier.verify(f"Bearer {signed(sub='other')}")

    assert asking.is_alive()
    provider.close()
    asking.join(10)


def test_keys_at_hand_outlast_a_provider_that_goes_away(provider: ScriptedServer) -> None:
    verifier = keys_of(provider)
    verifier.verify(f"Bearer {signed()}")
    provider.close()
    assert verifier.verify(f"Bearer {signed()}").principal == "them"
