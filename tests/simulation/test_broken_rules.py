"""The simulation finds each rule that is broken on purpose: a check that cannot fail is none."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest

from chalicelib.domain import answers, delivery
from chalicelib.domain.audit import Repair
from chalicelib.domain.breaker import Admission, Breaker, BreakerPolicy
from chalicelib.domain.control import CatchUp, Control, Redrive
from chalicelib.domain.delivery import (
    Acknowledge,
    Claim,
    Decision,
    Defer,
    Disposition,
    LetterMeans,
    Outcome,
    SyncResult,
    Transition,
    decide,
)
from chalicelib.domain.messages import DeadLetter, SyncMessage, dead_letter_for
from chalicelib.domain.product import Product
from chalicelib.domain.restore import Restore, lifted
from chalicelib.domain.retry import NextAttempt, Schedule
from chalicelib.domain.sync_state import FAILED_STATUSES, Lease, SyncState
from chalicelib.usecases import admission, audit, restore, sync
from chalicelib.usecases.admission import Admissions
from chalicelib.usecases.catalog import Catalog
from chalicelib.usecases.convergence import Convergence
from chalicelib.usecases.parking import LOST_RACE, Parking
from chalicelib.usecases.ports import Found
from chalicelib.usecases.sync import Call, Pair, Sync
from simulation.scenarios import SCENARIOS
from simulation.world import judged
from tests.fakes import store as fake_store
from tests.fakes.store import FakeStore

Patch = Callable[[pytest.MonkeyPatch], None]
SEEDS = 200
"""Runs in which a broken rule must show, beginning with the seed of the rule."""

right_counts, right_parked, right_redrive = delivery._counts, delivery._parked, delivery.redrive
right_failed, oldest_first = Breaker._failed, Convergence._waiting
restarted, next_attempt, deliver = SyncState.restarted, Schedule.next_attempt, Sync._deliver
announce = Sync._announced
again, walk = delivery.deliver_again, FakeStore.walk
claim_of, after_call = FakeStore._claim, fake_store._after_call
store_result = FakeStore._record


@dataclass(frozen=True)
class Rule:
    """A rule, how it is broken, and the scenario that shows it; `seed`: the run that does."""

    name: str
    breaks: Patch
    scenario: str = "hot-product"
    seed: int = 0


def _claims_whatever_the_revision(patch: pytest.MonkeyPatch) -> None:
    def claim(store: FakeStore, claim: Claim) -> bool:
        stored = store.products.get(claim.product.id)
        return stored is not None and claim_of(store, replace(claim, before=stored))

    patch.setattr(FakeStore, "_claim", claim)


def _results_by_the_owner_of_the_lease(patch: pytest.MonkeyPatch) -> None:
    def record(store: FakeStore, result: SyncResult) -> bool:
        stored = store.products.get(result.product.id)
        lease = stored.sync.lease if stored else None
        if stored is None or lease is None or lease.owner != result.claim.token:
            return False
        store.products[stored.id] = after_call(stored, result, current=True)
        return True

    patch.setattr(FakeStore, "_record", record)


def _letters_name_the_present_budget(patch: pytest.MonkeyPatch) -> None:
    def letter(product: Product) -> DeadLetter:
        right = dead_letter_for(product)
        body = {**json.loads(right.body), "budget": product.sync.budget}
        return DeadLetter(json.dumps(body), right.attributes)

    for module in ("sync", "dead_letters"):
        patch.setattr(f"chalicelib.usecases.{module}.dead_letter_for", letter)


def _a_lost_race_is_acknowledged(patch: pytest.MonkeyPatch) -> None:
    def acknowledged(worker: Sync, pairs: Sequence[Pair]) -> dict[str, Disposition]:
        done = deliver(worker, pairs)
        soon = worker._clock() + LOST_RACE
        return {
            name: Acknowledge("duplicate") if isinstance(it, Defer) and it.until <= soon else it
            for name, it in done.items()
        }

    patch.setattr(Sync, "_deliver", acknowledged)


def _a_late_start_calls(patch: pytest.MonkeyPatch) -> None:
    def attempt(worker: Sync, call: Call) -> Outcome:
        return worker._supply_chain.deliver(call.claim.product, None)

    patch.setattr(Sync, "_attempt", attempt)


def _a_write_changes(patch: pytest.MonkeyPatch, **kept: Callable[[SyncState], object]) -> None:
    def fresh(state: SyncState, now: datetime, overdue_at: datetime, **changes: int) -> SyncState:
        right = restarted(state, now, overdue_at, **changes)  # type: ignore[arg-type]  # by name
        return replace(right, **{name: value(state) for name, value in kept.items()})  # type: ignore[arg-type]  # fields by name

    patch.setattr(SyncState, "restarted", fresh)


def _decides(patch: pytest.MonkeyPatch, wrong: Callable[..., Decision]) -> None:
    patch.setattr(sync, "decide", wrong)


def _old_leases_acknowledge(
    product: Product | None, message: SyncMessage, message_id: str, now: datetime
) -> Decision:
    right = decide(product, message, message_id, now)
    lease = product.sync.lease if product else None
    if product and lease and isinstance(right, Defer) and lease.until == right.until:
        return Acknowledge("duplicate") if lease.version < product.version else right
    return right


def _any_message_redrives(
    product: Product | None, message: SyncMessage, message_id: str, now: datetime
) -> Decision:
    if product and product.sync.status in FAILED_STATUSES:
        message = replace(message, budget=product.sync.budget + 1)
    return decide(product, message, message_id, now)


def _lateness_is_lost(patch: pytest.MonkeyPatch) -> None:
    def unmoved(schedule: Schedule, **facts: object) -> NextAttempt | None:
        started, aim = facts["started"], facts["aim"]
        assert isinstance(started, datetime)
        end = facts["ends"] or started + timedelta(seconds=schedule.horizon)
        # As if it had begun on time.
        return next_attempt(schedule, **{**facts, "started": aim or started, "ends": end})  # type: ignore[arg-type]  # passed on

    patch.setattr(Schedule, "next_attempt", unmoved)


def _an_announcement_is_lost(patch: pytest.MonkeyPatch) -> None:
    def announced(
        worker: Sync, done: Sequence[tuple[Call, SyncResult]], now: datetime
    ) -> list[SyncResult]:
        return [replace(result, events=()) for result in announce(worker, done, now)]

    patch.setattr(Sync, "_announced", announced)


def _news_is_published_and_not_kept(patch: pytest.MonkeyPatch) -> None:
    def record(store: FakeStore, result: SyncResult) -> bool:
        return store_result(store, replace(result, events=result.announcements))

    patch.setattr(FakeStore, "_record", record)


def _no_cooldown(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Outcome, "cooldown_until", property(lambda _: None))


def _retry_after_is_ignored(patch: pytest.MonkeyPatch) -> None:
    def impatient(schedule: Schedule, **facts: object) -> NextAttempt | None:
        return next_attempt(schedule, **{**facts, "retry_after": None})  # type: ignore[arg-type]  # passed on

    _no_cooldown(patch)
    patch.setattr(Schedule, "next_attempt", impatient)


# ---- outages, pauses and limits ----


def _many_probes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Breaker, "_admit_probe", lambda breaker, *_: (Admission(1, probe=True), breaker))


def _the_pause_is_ignored(patch: pytest.MonkeyPatch) -> None:
    def admit(
        control: Control, wanted: int, now: datetime, policy: BreakerPolicy
    ) -> tuple[Admission, Control]:
        answer, breaker = control.breaker.admit(wanted, now, policy)
        return answer, control if breaker is control.breaker else replace(control, breaker=breaker)

    patch.setattr(Control, "admit", admit)


def _counts(patch: pytest.MonkeyPatch, **wrong: bool) -> None:
    """Count what a probe finds, or what was brought forward, as `wrong` says."""

    def counts(product: Product, outcome: Outcome, *, probe: bool) -> bool:
        if "early" in wrong:
            product = replace(product, sync=replace(product.sync, planned_at=None))
        return right_counts(product, outcome, probe=probe and "probe" not in wrong)

    patch.setattr(delivery, "_counts", counts)


def _permits_are_local(patch: pytest.MonkeyPatch) -> None:
    def admit(known: Admissions, wanted: int) -> Admission:
        now = known._clock()
        answer, after = known._known(now).admit(wanted, now, known._policy)
        known._keep(after, now)
        return answer

    patch.setattr(Admissions, "admit", admit)


def _newest_first(patch: pytest.MonkeyPatch) -> None:
    def waiting(work: Convergence, catch_up: CatchUp, limit: int) -> list[Product]:
        return oldest_first(work, replace(catch_up, after=None), 1000)[::-1][:limit]

    patch.setattr(Convergence, "_waiting", waiting)


def _parked_for_ever(patch: pytest.MonkeyPatch) -> None:
    def parked(state: SyncState, until: datetime) -> SyncState:
        return replace(right_parked(state, until), overdue_at=None)

    patch.setattr(delivery, "_parked", parked)


def _one_product_keeps_it_open(patch: pytest.MonkeyPatch) -> None:
    def failed(breaker: Breaker, *facts: object) -> Breaker:
        return replace(right_failed(breaker, *facts), successes=0)  # type: ignore[arg-type]  # passed on

    patch.setattr(Breaker, "_failed", failed)
    patch.setattr(Breaker, "starved", lambda breaker, _: breaker)


def _restarts_all(patch: pytest.MonkeyPatch) -> None:
    def redrive(
        product: Product, job: Redrive, now: datetime, *, parked: bool = False
    ) -> Transition | None:
        return right_redrive(product, replace(job, started_at=now, asked_at=()), now, parked=parked)

    patch.setattr("chalicelib.usecases.convergence.redrive", redrive)


# ---- audits ----


def _nothing_is_lifted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(audit, "repair_of", lambda product, *_: (Repair.DELIVER, product.version))


def _a_repair_has_an_old_key(patch: pytest.MonkeyPatch) -> None:
    def same_budget(product: Product, started_at: datetime, now: datetime) -> Product:
        right = again(product, started_at, now)
        return replace(right, sync=replace(right.sync, budget=product.sync.budget))

    patch.setattr(audit, "deliver_again", same_budget)


def _tombstones_are_passed_over(patch: pytest.MonkeyPatch) -> None:
    def live(store: FakeStore, after: str | None, limit: int) -> Found:
        found = walk(store, after, limit)
        return Found({name: it for name, it in found.products.items() if not it.deleted_at})

    patch.setattr(FakeStore, "walk", live)


def _an_audit_asks_whenever_it_can(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Control, "put_off_by", lambda *_: None)
    patch.setattr(audit.Questions, "_granted", lambda _, wanted: wanted)


# ---- a restored store ----


def _a_lease_survives_the_restore(patch: pytest.MonkeyPatch) -> None:
    def with_lease(product: Product, *rest: object) -> Product:
        right = lifted(product, *rest)  # type: ignore[arg-type]
        lease = Lease("worker", product.updated_at, product.version)
        return replace(right, sync=replace(right.sync, lease=lease))

    patch.setattr(restore, "lifted", with_lease)


RULES = [
    Rule(
        "every version is lifted above those that were given out",
        lambda patch: patch.setattr("chalicelib.domain.restore.MARGIN", 0),
        "restore",
    ),
    Rule(
        "what the stream knows better is replayed",
        lambda patch: patch.setattr(restore, "is_newer", lambda *_: False),
        "restore",
    ),
    Rule(
        "what only the supply chain knows is listed before it is overwritten",
        lambda patch: patch.setattr(restore, "_held", lambda _: None),
        "restore",
    ),
    Rule(
        "a deletion that only the supply chain knows is listed too",
        lambda patch: patch.setattr(restore, "_is_gone", lambda _: False),
        "restore",
        seed=1,
    ),
    Rule(
        "a restore that is started again keeps what was listed",
        lambda patch: patch.setattr(Restore, "instead_of", lambda new, _: new),
        "restore",
        seed=40,
    ),
    Rule("no lease survives a restore", _a_lease_survives_the_restore, "restore"),
    Rule("a version above that of the supply chain is made", _nothing_is_lifted, "audit", seed=4),
    Rule("a repair has an idempotency key of its own", _a_repair_has_an_old_key, "audit"),
    Rule("confirmed deletions are audited too", _tombstones_are_passed_over, "audit"),
    Rule("an audit waits while calls are held", _an_audit_asks_whenever_it_can, "audit", seed=29),
    Rule("one probe at a time while the breaker is open", _many_probes, "catch-up"),
    Rule("a pause stops all calls", _the_pause_is_ignored, "paused"),
    Rule(
        "a worker reads the state again after a second",
        lambda patch: patch.setattr(admission, "FRESH", timedelta(hours=1)),
        "paused",
    ),
    Rule(
        "a probe that finds the supply chain down counts nothing",
        lambda patch: _counts(patch, probe=True),
        "outage",
    ),
    Rule(
        "a failure before its planned time counts nothing",
        lambda patch: _counts(patch, early=True),
        "flapping",
    ),
    Rule(
        "a lost probe is followed by another",
        lambda patch: patch.setattr(
            Breaker, "is_due", lambda it, now: it.state == "open" and it.probe_at <= now
        ),
        "lost-probe",
    ),
    Rule("one product does not keep the breaker open", _one_product_keeps_it_open, "poison"),
    Rule(
        "reconcile finds a product for the next probe",
        lambda patch: patch.setattr(Convergence, "feed_probe", lambda *_: 0),
        "catch-up",
    ),
    Rule(
        "a Retry-After holds for all products",
        _no_cooldown,
        "outage",
        seed=5,
    ),
    Rule("permits are shared by all workers", _permits_are_local, "limited"),
    Rule(
        "the rate rises step by step after an outage",
        lambda patch: patch.setattr(Breaker, "limit", lambda _, __, policy: policy.max_rate),
        "catch-up",
        seed=2,
    ),
    Rule(
        "what waits is brought forward after an outage",
        lambda patch: patch.setattr(Convergence, "bring_forward", lambda *_: 0),
        "catch-up",
    ),
    Rule("the oldest change is brought forward first", _newest_first, "catch-up"),
    Rule("a parked product is found", _parked_for_ever, "parked"),
    Rule(
        "long waits are parked where the queue is full",
        lambda patch: patch.setattr(Parking, "queue_is_full", False),
        "parked",
    ),
    Rule("a redrive restarts a product once", _restarts_all, "redrive-of-many"),
    Rule("… also one that fails again within a second", _restarts_all, "retry-now", seed=24),
    Rule("a Retry-After is honoured", _retry_after_is_ignored, "retry-after"),
    Rule(
        "a message that crashes its workers makes its product exhausted",
        lambda patch: patch.setattr(
            "chalicelib.usecases.dead_letters.judge_letter", lambda *_: LetterMeans.NOTHING
        ),
        "deadly-message",
    ),
    Rule("a claim holds only for the revision that was seen", _claims_whatever_the_revision),
    Rule(
        "a result is written only by the claim's token",
        _results_by_the_owner_of_the_lease,
        "changed-during-calls",
    ),
    Rule("a dead letter names the next budget", _letters_name_the_present_budget, "duplicates"),
    Rule("a lost race defers the message", _a_lost_race_is_acknowledged, "duplicates"),
    Rule("no call begins late in its lease", _a_late_start_calls, seed=27),
    Rule(
        "a write keeps the lease of a running call",
        lambda patch: _a_write_changes(patch, lease=lambda _: None),
    ),
    Rule(
        "a write takes the token of a running call away",
        lambda patch: _a_write_changes(patch, claim=lambda state: state.claim),
        "changed-during-calls",
    ),
    Rule(
        "a write forgets the message and the time of the version before",
        lambda patch: _a_write_changes(
            patch,
            message_id=lambda state: state.message_id,
            next_attempt_at=lambda state: state.next_attempt_at,
        ),
        "faultless",
    ),
    Rule(
        "a lease for an older version defers the message",
        lambda patch: _decides(patch, _old_leases_acknowledge),
        "faultless",
    ),
    Rule(
        "only a higher budget redrives",
        lambda patch: _decides(patch, _any_message_redrives),
        "lost-consumer",
    ),
    Rule(
        "only the event that a message names leaves the outbox",
        lambda patch: patch.setattr(
            fake_store, "_without", lambda item, _: replace(item, outbox=())
        ),
        "late-event",
    ),
    Rule(
        "each budget has an idempotency key of its own",
        lambda patch: patch.setattr(
            Product, "idempotency_key", property(lambda item: f"{item.id}:{item.version}")
        ),
        "replays",
    ),
    Rule("lateness moves the end of the horizon", _lateness_is_lost, "own-outage"),
    Rule(
        "an answer that changes nothing waits for the majority",
        lambda patch: patch.setattr(Catalog, "_is_committed", lambda *_: True),
        "failovers",
        seed=4,
    ),
    Rule(
        "a delivery that could not be announced stays in the outbox",
        _an_announcement_is_lost,
        "random",
        seed=34,
    ),
    Rule(
        "what has become of a product is in the outbox with its result",
        _news_is_published_and_not_kept,
        "random",
        seed=30,
    ),
    Rule(
        "a deletion that is answered 404 counts only if a question confirms it",
        lambda patch: patch.setattr(answers, "QUESTIONS", 0),
        "denials",
    ),
    Rule(
        "one question is not enough",
        lambda patch: patch.setattr(answers, "QUESTIONS", 1),
        "denials",
    ),
    Rule(
        "sync sends the dead letter itself",
        lambda patch: patch.setattr(Sync, "_send_letters", lambda *_: None),
        "duplicates",
    ),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.usefixtures("quiet")
def test_a_broken_rule_is_found(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    rule.breaks(monkeypatch)
    make = SCENARIOS[rule.scenario]
    seeds = range(rule.seed, rule.seed + SEEDS)
    found = next((seed for seed in seeds if judged(make(seed)).broken), None)
    assert found is not None, f"{SEEDS} runs without a broken promise"
