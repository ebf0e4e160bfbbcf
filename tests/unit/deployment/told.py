"""An API whose answers a test writes, and patience on a clock that jumps."""

from __future__ import annotations

from collections import defaultdict

from requests.structures import CaseInsensitiveDict

from chalicelib.domain import exact_json
from tools.verify_deployment.steps import Json, Patience
from tools.verify_deployment.web import PROBLEM, Answer, Web

ID = "6b05e78b3969dfca0964608b"
PROBLEM_TYPE = "application/problem+json"


def answer(status: int, content: Json | None = None, **headers: str) -> Answer:
    """An answer as it would come over HTTP."""
    return Answer(status, CaseInsensitiveDict(headers), content, f"it answered {status}")


def problem(status: int, name: str) -> Answer:
    """A refusal of the catalog's own."""
    return answer(status, {"type": PROBLEM + name}, **{"Content-Type": PROBLEM_TYPE})


class Told(Web):
    """Answers each request as told: with the next answer for it, the last one again and again."""

    def __init__(self, **_: object) -> None:
        super().__init__("https://it/api", "a-token")
        self.answers: dict[str, list[Answer]] = defaultdict(list)
        self.asked: list[tuple[str, object]] = []

    def tell(self, request: str, *answers: Answer) -> None:
        """Answer this request so from now on."""
        self.answers[request] = list(answers)

    def with_token(self, token: str | None) -> Told:  # noqa: ARG002 - it answers all the same
        return self

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        request = f"{method} {path}"
        # As it goes over the wire.
        self.asked.append((request, body and exact_json.loads(exact_json.dumps(body))))
        left = self.answers[request]
        if not left:
            return problem(404, "no-such-route")
        return left.pop(0) if len(left) > 1 else left[0]


def patience(seconds: float = 3) -> Patience:
    """Waits on a clock of its own."""
    now = [0.0]

    def pause(length: float) -> None:
        now[0] += length

    return Patience(seconds, clock=lambda: now[0], pause=pause)
