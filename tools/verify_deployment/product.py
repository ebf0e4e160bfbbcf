"""The steps over HTTP: from a write to its delivery, and back to nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

from catalogctl.errors import CommandError
from catalogctl.events import Wanted
from chalicelib.domain import exact_json
from chalicelib.http import openapi
from tools.verify_deployment.steps import FailedError, Json, NotCheckedError, Patience, Step
from tools.verify_deployment.web import Web

PRICE = Decimal("19.9001")
"""Its last digit is lost where a number becomes a float on its way."""
REASON = "verify-deployment"
Listen = Callable[[Wanted, Callable[[Json], None]], None]


@dataclass
class Given:
    """What the operator has given; a step that lacks its part is not taken."""

    web: Web
    patience: Patience
    reader: str | None = None
    """A token that may only read."""
    listen: Listen | None = None
    """Hears the events of the stream."""
    fake: Web | None = None
    """The control plane of a fake supply chain."""
    poison: Callable[[], str] | None = None
    """Makes a dead letter by a message that nobody can read."""
    mark: str = field(default_factory=lambda: f"verify-deployment-{uuid4().hex[:12]}")
    """Name and sku of its product."""


class Product:
    """One product's way through the deployment. The steps depend on each other's product."""

    def __init__(self, given: Given) -> None:
        self.given, self._web = given, given.web
        self._began = datetime.now(UTC)
        self._made: Json | None = None

    @property
    def steps(self) -> list[Step]:
        """Give the steps in order, but for the deletion, which comes last of all."""
        return [
            Step("health", self.health),
            Step("ready", self.ready),
            Step("openapi", self.openapi),
            Step("no token", self.no_token),
            Step("no scope", self.no_scope),
            Step("unknown route", self.unknown_route),
            Step("write", self.write),
            Step("read", self.read),
            Step("delivery", self.delivery),
            Step("events", self.events),
            Step("replay", self.replay),
            Step("dead letter", self.dead_letter),
        ]

    # ---- the service ----

    def health(self) -> str:
        """It answers at all."""
        answer = self._web.expect(200, "GET", "/health")
        if answer.json.get("status") != "ok":
            raise FailedError(f"GET /health says {answer.content}")
        return f"the API at {self._web.base} answers"

    def ready(self) -> str:
        """It reaches what it depends on."""
        answer = self._web.ask("GET", "/ready")
        found = answer.json.get("dependencies") or {}
        away = {name: state for name, state in found.items() if state != "ok"}
        if away:
            raise FailedError(", ".join(f"{name}: {state}" for name, state in away.items()))
        if answer.status != 200 or not found:
            raise FailedError(f"{answer.error} (expected 200, and the state of each dependency)")
        return f"{', '.join(found)} can be reached"

    def openapi(self) -> str:
        """It serves its contract, which is that of this checkout."""
        served = self._web.expect(200, "GET", "/openapi.json").json
        version = served.get("info", {}).get("version")
        if not version or not served.get("paths"):
            raise FailedError("GET /openapi.json is no OpenAPI document with a version and paths")
        ours = _operations(exact_json.loads(openapi.document()))
        if others := sorted(_operations(served) ^ ours):
            some = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
            raise NotCheckedError(f"version {version}, but not of this checkout: {some} differ")
        return f"version {version}, {len(ours)} operations, those of this checkout"

    # ---- who may do what ----

    def no_token(self) -> str:
        """Without a token nobody gets in."""
        problem = self._web.with_token(None).refused(401, "GET", "/products")
        return f"GET /products without a token: 401, {problem}"

    def no_scope(self) -> str:
        """A token does no more than its scopes name."""
        if self.given.reader is None:
            raise NotCheckedError(
                "needs a token without products:write: CATALOG_READER_TOKEN, or "
                "CATALOG_JWT_SECRET to sign one"
            )
        reader = self._web.with_token(self.given.reader)
        # Were it allowed, it would be refused as invalid, and nothing would be written.
        problem = reader.refused(403, "POST", "/products", {})
        return f"POST /products with products:read alone: 403, {problem}"

    def unknown_route(self) -> str:
        """What is not there is 404, in the catalog's own form."""
        problem = self._web.refused(404, "GET", f"/no-such-route-{self.given.mark}")
        return f"an unknown route: 404, {problem}"

    # ---- one product ----

    def write(self) -> str:
        """A write is accepted."""
        mark = self.given.mark
        body = {"name": mark, "price": PRICE, "quantity": 1, "sku": mark}
        answer = self._web.expect(201, "POST", "/products", body)
        self._made = answer.json
        return f"{self._id} was made, name and sku {mark}"

    def read(self) -> str:
        """What is read is what was written, digit by digit."""
        answer = self._web.expect(200, "GET", f"/products/{self._id}")
        expected = {"name": self.given.mark, "price": PRICE, "quantity": 1, "version": 0}
        wrong = [name for name, value in expected.items() if answer.json.get(name) != value]
        if wrong:
            found = ", ".join(f"{name} {answer.json.get(name)}" for name in wrong)
            raise FailedError(f"what was read is not what was written: {found}")
        if answer.headers.get("ETag") != '"0"':
            raise FailedError(f'ETag is {answer.headers.get("ETag")}, not "0", its version')
        return f"version 0, price {answer.json['price']}"

    def delivery(self) -> str:
        """It reaches the supply chain."""
        sync = self._until("delivered")
        return f"delivered at {sync['syncCompletedAt']}, {_calls(sync)}"

    def events(self) -> str:
        """Listeners hear of it."""
        listen = self.given.listen
        if listen is None:
            raise NotCheckedError("needs NATS_URL, and NATS_CREDENTIALS if NATS asks for them")
        wanted = {"product:created", "product:sync-complete"}
        heard: set[str] = set()
        since = self._began - timedelta(minutes=1)
        what = Wanted(product_id=self._id, since=since, follow=False)

        def look() -> bool | None:
            try:
                listen(what, lambda event: heard.add(str(event.get("type"))))
            except CommandError as error:
                raise FailedError(str(error)) from error
            return True if heard >= wanted else None

        self.given.patience.until(
            look, lambda: f"not on the stream: {', '.join(sorted(wanted - heard))}"
        )
        return f"the stream has {', '.join(sorted(heard))} of it"

    def replay(self) -> str:
        """An operator can have it delivered again."""
        answer = self._web.ask("POST", f"/products/{self._id}/sync", {"reason": REASON})
        if answer.status == 403:
            raise NotCheckedError("needs a token with sync:admin")
        if answer.status != 202:
            raise FailedError(f"{answer.error} (expected 202)")
        sync = self._until("delivered", budget=1)
        return f"delivered again at {sync['syncCompletedAt']}, {_calls(sync)}"

    # ---- a dead letter ----

    def dead_letter(self) -> str:
        """What cannot be delivered becomes work for a person."""
        ways = []
        if self.given.fake is not None:
            ways.append(self._rejected(self.given.fake))
        if self.given.poison is not None:
            ways.append(self.given.poison())
        if not ways:
            raise NotCheckedError(
                "needs --poison with --aws, or --supply-chain-control, the address of a fake "
                "supply chain that can be told to reject"
            )
        return "; ".join(ways)

    def _rejected(self, fake: Web) -> str:
        """Have the product rejected, and delivered after all."""
        before = fake.expect(200, "GET", "/_control").json["rejectIds"]
        fake.expect(200, "PUT", "/_control", {"rejectIds": [*before, self._id]})
        try:
            self._web.expect(200, "PATCH", f"/products/{self._id}", {"quantity": 2})
            self._until("rejected", version=1)
            wait = self.given.patience.until
            wait(self._letter, lambda: "it was rejected, but has no dead letter")
        finally:
            fake.expect(200, "PUT", "/_control", {"rejectIds": before})
        self._web.expect(202, "POST", f"/products/{self._id}/sync", {"reason": REASON})
        self._until("delivered", version=1)
        return "rejected, it has its dead letter, and a replay delivers it"

    def _letter(self) -> Json | None:
        page = self._web.expect(200, "GET", "/sync/dead-letters?limit=100").json
        found = (it for it in page["items"] if it["productId"] == self._id)
        return next((it for it in found if it["letterSent"]), None)

    # ---- and back to nothing ----

    def deletion(self) -> str:
        """Nothing is left of it, in the supply chain neither."""
        ids = self._left_behind()
        for product_id in ids:
            answer = self._web.ask("DELETE", f"/products/{product_id}")
            if answer.status not in (204, 404):
                raise FailedError(f"{answer.error}: delete {product_id} yourself")
        for product_id in ids:
            self._until_gone(product_id)
        if not ids:
            raise NotCheckedError("there is no product to delete")
        return f"{', '.join(ids)} is deleted, which the supply chain has confirmed"

    def _left_behind(self) -> list[str]:
        """Find what was made, also by a write whose answer was lost."""
        if self._made is not None:
            return [self._id]
        answer = self._web.ask("GET", f"/products?sku={self.given.mark}")
        return [str(item["id"]) for item in (answer.content or {}).get("items", [])]

    def _until_gone(self, product_id: str) -> None:
        seen: Json = {}

        def look() -> bool | None:
            answer = self._web.ask("GET", f"/products/{product_id}/sync")
            seen.update(answer.content or {})
            dropped = answer.status == 404
            confirmed = seen.get("deleted") is True and seen.get("status") == "delivered"
            return True if dropped or confirmed else None

        self.given.patience.until(
            look, lambda: f"the deletion of {product_id} is not confirmed: {_state(seen)}"
        )

    # ---- its state ----

    @property
    def _id(self) -> str:
        if self._made is None:
            raise NotCheckedError("needs the product, which could not be written")
        return str(self._made["id"])

    def _until(self, status: str, version: int = 0, budget: int = 0) -> Json:
        seen: Json = {}

        def look() -> Json | None:
            seen.update(self._web.expect(200, "GET", f"/products/{self._id}/sync").json)
            if (seen["version"], seen["budget"]) < (version, budget):
                return None
            if seen["status"] in {"exhausted", "rejected"} - {status}:
                raise FailedError(f"{self._id} is {_state(seen)}")
            return seen if seen["status"] == status else None

        return self.given.patience.until(
            look, lambda: f"{self._id} is not {status}: {_state(seen)}"
        )


def _operations(document: Json) -> set[str]:
    paths = document.get("paths", {})
    return {f"{method.upper()} {path}" for path, it in paths.items() for method in it}


def _calls(sync: Json) -> str:
    return "1 call" if sync["attempts"] == 1 else f"{sync['attempts']} calls"


def _state(sync: Json) -> str:
    parts = [sync.get("status", "unknown"), _calls(sync) if "attempts" in sync else ""]
    parts += [str(sync[name]) for name in ("held", "lastError") if sync.get(name)]
    return ", ".join(part for part in parts if part)
