"""What an answer of the supply chain means: delivered, failed, or rejected. No I/O.

The table is in docs/architecture.md ("What counts as delivered"). An answer that could be wrong
counts only if a question, GET of the product, confirms it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from chalicelib.domain import exact_json
from chalicelib.domain.delivery import Verdict
from chalicelib.domain.exact_json import Json
from chalicelib.domain.product import Product

ABSENT = frozenset({404, 410})
QUESTIONS = 2
"""How many GETs in a row must say that a product is absent. Three wrong answers in a row (one to
the DELETE) are believed: with one wrong answer in 25 that is one deletion in 15,000."""
ERROR_LIMIT = 300
"""Characters of an answer that are stored in a product's history."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, the beginning of the body, and headers."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_success(self) -> bool:
        """Say whether the status is 2xx; not 207, where each part has a status of its own."""
        return 200 <= self.status < 300 and self.status != 207

    def json(self) -> Json:
        """Parse the body; `{}` if it is no JSON object."""
        try:
            said = exact_json.loads(self.body) if self.body else {}
        except ValueError:
            return {}
        return said if isinstance(said, dict) else {}

    def told(self, doubt: str = "") -> str:
        """Write status, doubt and text as an error for operators."""
        text = self.body.decode("utf-8", "replace").strip()[:ERROR_LIMIT]
        head = f"HTTP {self.status}, but {doubt[:ERROR_LIMIT]}" if doubt else f"HTTP {self.status}"
        return f"{head}: {text}" if text else head


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict; `error` is None if it is DELIVERED.

    `held`: the version of the supply chain, if it has refused or ignored this one for a newer one.
    """

    verdict: Verdict
    error: str | None = None
    held: int | None = None


Ask = Callable[[], Answer]
"""Asks the supply chain for the product, by GET."""


def judge(
    product: Product, answer: Answer, ask: Ask, reject_statuses: Collection[int]
) -> Judgement:
    """Say what the answer to the POST of a product, or to the DELETE of a tombstone, means.

    Raises what `ask` raises: then nothing was confirmed, and the attempt has failed.
    """
    deleting, held = product.deleted_at is not None, None
    refusal = Verdict.REJECTED if answer.status in reject_statuses else Verdict.FAILED
    if answer.is_success:
        refusal, doubt = Verdict.FAILED, _contradiction(product, answer)
        held = None if deleting else _newer(product, answer)
    elif deleting and answer.status in ABSENT:
        refusal, doubt = Verdict.FAILED, _doubt_absence(product, ask)
    elif answer.status == 409 and not deleting:
        doubt, held = _doubt_newer(product, ask())
    else:
        return Judgement(refusal, answer.told())
    if doubt:
        return Judgement(refusal, answer.told(doubt))
    return Judgement(Verdict.DELIVERED, held=held)


def _says(answer: Answer) -> Json:
    """Give what the body of a success says about the product."""
    # The body of a 202 describes a job.
    return {} if answer.status == 202 else answer.json()


def _newer(product: Product, answer: Answer) -> int | None:
    """Give the version that is held in place of this one, if it is newer."""
    version = _version(_says(answer))
    return version if version is not None and version > product.version else None


def _contradiction(product: Product, answer: Answer) -> str | None:
    """Say how the body of a success contradicts it; a field of another type is ignored."""
    said = _says(answer)
    if other := _other_product(product, said):
        return f"it answers with product {other}"
    version = _version(said)
    # The answer to a DELETE may contain the version that was deleted.
    if product.deleted_at is None and version is not None and version < product.version:
        return f"it answers with version {version}"
    return None


def _doubt_absence(product: Product, ask: Ask) -> str | None:
    """Say why the answers to the GETs are no proof that the product is absent."""
    for _ in range(QUESTIONS):
        answer = ask()
        if answer.status not in ABSENT:
            return _doubt_question(product, answer) or f"the supply chain holds {_held(answer)}"
    return None


def _doubt_newer(product: Product, answer: Answer) -> tuple[str | None, int | None]:
    """Say why the answer to the GET is no proof that this version or a newer one is held.

    And which one that is, if it is newer.
    """
    if doubt := _doubt_question(product, answer):
        return doubt, None
    version = _version(answer.json())
    if version is None or version < product.version:
        return f"the supply chain holds {_held(answer)}", None
    return None, version if version > product.version else None


def _doubt_question(product: Product, answer: Answer) -> str | None:
    if answer.status != 200:
        return f"a GET of the product is answered HTTP {answer.status}"
    other = _other_product(product, answer.json())
    return f"a GET of the product is answered with product {other}" if other else None


def _held(answer: Answer) -> str:
    version = _version(answer.json())
    return "the product, without a version" if version is None else f"version {version}"


def _other_product(product: Product, said: Json) -> str | None:
    """Give the id that is not this product's, in ASCII: JSON can contain what no store accepts."""
    named = said.get("id")
    return ascii(named) if isinstance(named, str) and named != product.id else None


def _version(said: Json) -> int | None:
    version = said.get("version")
    # `true` is an int in Python.
    return version if type(version) is int else None
