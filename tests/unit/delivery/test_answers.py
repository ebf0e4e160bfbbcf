"""What an answer of the supply chain means: the table in docs/architecture.md."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chalicelib.domain import exact_json
from chalicelib.domain.answers import ERROR_LIMIT, Answer, Judgement, judge
from chalicelib.domain.delivery import Verdict
from tests.fakes import START, a_product

# A fixed id: it is in the names of tests, which every process must give alike.
PRODUCT = a_product(id="0" * 24, version=5)
TOMBSTONE = a_product(id="0" * 24, version=5, deleted_at=START)
DELIVERED, FAILED, REJECTED = Verdict.DELIVERED, Verdict.FAILED, Verdict.REJECTED


def body(**said: object) -> bytes:
    return exact_json.dumps(said).encode()


def judged(
    answer: Answer, *questions: Answer, deleting: bool = False, rejects: tuple[int, ...] = (422,)
) -> Judgement:
    """Judge an answer; every question must be asked, and no other one."""
    left: Iterator[Answer] = iter(questions)
    found = judge(TOMBSTONE if deleting else PRODUCT, answer, lambda: next(left), rejects)
    assert not list(left)
    return found


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, DELIVERED),
        (201, DELIVERED),
        (202, DELIVERED),
        (204, DELIVERED),
        (207, FAILED),
        (299, DELIVERED),
        (301, FAILED),
        (304, FAILED),
        (400, FAILED),
        (422, REJECTED),
        (429, FAILED),
        (500, FAILED),
    ],
)
@pytest.mark.parametrize("deleting", [False, True])
def test_a_status_means(status: int, verdict: Verdict, *, deleting: bool) -> None:
    assert judged(Answer(status), deleting=deleting).verdict is verdict


@pytest.mark.parametrize("status", [404, 410])
def test_an_upsert_that_finds_nothing_has_failed(status: int) -> None:
    assert judged(Answer(status, b" none ")) == Judgement(FAILED, f"HTTP {status}: none")


# ---- what a success says ----


@pytest.mark.parametrize("status", [200, 201, 203])
@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"ok",
        b"\xff",
        b"[]",
        b"null",
        b'"abc"',
        b"{}",
        b'{"id": "cut of',
        body(id=PRODUCT.id),
        body(id=PRODUCT.id, version=5),
        body(id=7),
        body(id=None, version=None),
        body(version="4"),
        body(version=True),
        b'{"version": 4.0}',
        b'{"version": 1e9999999999}',
        b"[" * 50_000,
        b"9" * 5_000,
    ],
)
def test_a_success_that_does_not_contradict_is_a_delivery(status: int, said: bytes) -> None:
    assert judged(Answer(status, said)) == Judgement(DELIVERED)


@pytest.mark.parametrize(
    ("said", "contradiction"),
    [
        (body(id="abc"), "product 'abc'"),
        (body(id=""), "product ''"),
        (body(id="abc", version=5), "product 'abc'"),
        (body(version=4), "version 4"),
        (body(version=-1), "version -1"),
        (body(id=PRODUCT.id, version=4), "version 4"),
    ],
)
def test_a_success_that_contradicts_is_a_failure_that_says_how(
    said: bytes, contradiction: str
) -> None:
    error = f"HTTP 200, but it answers with {contradiction}: {said.decode()}"
    assert judged(Answer(200, said)) == Judgement(FAILED, error)


def test_a_success_with_a_newer_version_is_a_delivery_that_names_it() -> None:
    assert judged(Answer(200, body(version=6))) == Judgement(DELIVERED, held=6)


@pytest.mark.parametrize(("status", "deleting"), [(202, False), (200, True)])
def test_a_version_that_is_not_the_products_own_names_no_newer_one(
    status: int, *, deleting: bool
) -> None:
    found = judged(Answer(status, body(version=6)), deleting=deleting)
    assert found == Judgement(DELIVERED)


def test_a_contradiction_is_no_rejection_whatever_the_settings() -> None:
    assert judged(Answer(200, body(version=4)), rejects=(200,)).verdict is FAILED


def test_an_error_contains_only_what_a_store_accepts_and_is_short() -> None:
    error = judged(Answer(200, b'{"id": "\\ud800' + b"x" * 5_000 + b'"}')).error or ""
    assert error.encode().startswith(b"HTTP 200, but it answers with product '\\ud800xxx")
    assert len(error) < 3 * ERROR_LIMIT


def test_an_accepted_job_has_an_id_of_its_own() -> None:
    assert judged(Answer(202, body(id="job-1", version=1))) == Judgement(DELIVERED)


def test_the_answer_to_a_deletion_may_contain_what_was_deleted() -> None:
    said = body(id=TOMBSTONE.id, version=4)
    assert judged(Answer(200, said), deleting=True) == Judgement(DELIVERED)


def test_the_answer_to_a_deletion_must_not_name_another_product() -> None:
    assert judged(Answer(200, body(id="abc")), deleting=True).verdict is FAILED


# ---- what a question confirms ----


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_to_be_deleted_is_absent_if_two_questions_confirm_it(status: int) -> None:
    confirmed = judged(Answer(status), Answer(404), Answer(410), deleting=True)
    assert confirmed == Judgement(DELIVERED)


@pytest.mark.parametrize("rejects", [(), (404,)])
@pytest.mark.parametrize("before", [(), (Answer(404),)])
@pytest.mark.parametrize(
    ("answer", "doubt"),
    [
        (Answer(200, body(version=3)), "the supply chain holds version 3"),
        (Answer(200), "the supply chain holds the product, without a version"),
        (Answer(200, body(id="abc")), "a GET of the product is answered with product 'abc'"),
        (Answer(301), "a GET of the product is answered HTTP 301"),
        (Answer(500), "a GET of the product is answered HTTP 500"),
    ],
)
def test_what_is_to_be_deleted_is_not_absent_if_one_question_denies_it(
    rejects: tuple[int, ...], before: tuple[Answer, ...], answer: Answer, doubt: str
) -> None:
    found = judged(Answer(404), *before, answer, deleting=True, rejects=rejects)
    assert found == Judgement(FAILED, f"HTTP 404, but {doubt}")


def test_what_a_question_raises_ends_the_attempt() -> None:
    def unanswered() -> Answer:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        judge(TOMBSTONE, Answer(404), unanswered, ())


def test_a_conflict_is_a_delivery_if_this_version_is_held() -> None:
    assert judged(Answer(409), Answer(200, body(version=5))) == Judgement(DELIVERED)


def test_a_conflict_with_a_newer_version_is_a_delivery_that_names_it() -> None:
    newer = Answer(200, body(version=6, id=PRODUCT.id))
    assert judged(Answer(409), newer) == Judgement(DELIVERED, held=6)


@pytest.mark.parametrize(
    "held",
    [
        Answer(200, body(version=4)),
        Answer(200, body(version="5")),
        Answer(200, body(version=True)),
        Answer(200, body(version=None)),
        Answer(200, b'{"version": 5.0}'),
        Answer(200, b"[5]"),
        Answer(200),
        Answer(200, body(id="abc", version=5)),
        Answer(201, body(version=5)),
        Answer(404, body(version=9)),
        Answer(500, body(version=9)),
    ],
)
@pytest.mark.parametrize(("rejects", "verdict"), [((), FAILED), ((409,), REJECTED)])
def test_a_conflict_is_refused_if_nothing_proves_that_this_version_is_held(
    held: Answer, rejects: tuple[int, ...], verdict: Verdict
) -> None:
    found = judged(Answer(409, b"stale"), held, rejects=rejects)
    assert found.verdict is verdict
    assert (found.error or "").startswith("HTTP 409, but ")


def test_a_conflict_with_a_deletion_is_a_failure_without_a_question() -> None:
    # Nothing is newer than a tombstone.
    assert judged(Answer(409), deleting=True) == Judgement(FAILED, "HTTP 409")
