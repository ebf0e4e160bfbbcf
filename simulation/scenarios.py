"""Plans of runs: random ones, and named scenarios that each show a fault the code once had."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from chalicelib.domain.breaker import BreakerPolicy
from chalicelib.domain.exact_json import Json
from chalicelib.domain.retry import Schedule
from simulation.faults import NO_LIMIT, Faults, Spans, draw
from simulation.plan import Pause, Plan
from simulation.supply_chain import Mood

BUSY = 1800.0
OK, FAIL, REJECT = (1, 0, 0, 0, 0, 0), (0, 1, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0)


def random_plan(seed: int) -> Plan:
    """Draw everything; one run in seven has no fault."""
    random = Random(f"plan {seed}")
    if random.random() < 0.15:
        return faultless(seed)
    if random.random() < 0.3:
        return outages(seed)
    busy = random.choice((300.0, BUSY))
    mixtures = (OK, (3, 4, 1, 1, 1, 1), (1, 6, 1, 1, 1, 0), (1, 1, 1, 0, 0, 1), FAIL)
    away = ((random.uniform(0, busy), busy),) if random.random() < 0.2 else ()
    return Plan(
        seed,
        draw(random, busy),
        Mood(random.choice(mixtures), away, random.choice((None, None, 30.0, 300.0))),
        Mood(random.choice((OK, FAIL, REJECT))),
        products=random.choice((1, 1, 2, 3)),
        changes=random.choice((0, 3, 20)),
        operations=random.choice((0, 3, 12)),
        workers=random.choice((2, 3, 4)),
        busy=busy,
    )


def faultless(seed: int) -> Plan:
    """Nothing goes wrong but the supply chain: reconcile must find nothing to do."""
    random = Random(f"plan {seed}")
    mood, busy = Mood(random.choice((OK, (1, 1, 0, 0, 0, 0)))), random.choice((120.0, BUSY))
    # Many in a short time: some fall into a call that is under way.
    changes = 60 if busy < BUSY else 6
    return Plan(seed, Faults(), mood, changes=changes, operations=0, busy=busy)


# ---- outages, pauses and limits ----

SENSITIVE = BreakerPolicy(
    failures=4, products=3, share=0.6, window=60.0, successes=2, ramp_rate=2.0, ramp_step=5.0
)
"""Opens with few products, and has a slow ramp."""
LONG = Schedule(6, 5400, 1800)
"""Its longest wait is much longer than the time in which all is delivered after an outage."""


SHORT = Schedule(5, 900, 400)


def outages(seed: int) -> Plan:
    """Outages, pauses and limits, in any combination, with the faults of other runs."""
    random = Random(f"outages {seed}")
    busy = random.choice((300.0, BUSY))
    faults = random.choice((draw(random, busy), Faults()))
    spans = tuple(sorted(_spans_of(random, busy)))
    mixtures = (OK, OK, (3, 4, 1, 1, 1, 0))
    mood = Mood(random.choice(mixtures), spans, random.choice((None, None, None, 3.0, 60.0)))
    pauses = tuple(_pause_of(random, busy) for _ in range(random.choice((0, 0, 1))))
    in_flight = faults.in_flight if faults.in_flight < NO_LIMIT else random.choice((4, 60_000))
    return Plan(
        seed,
        faults,
        mood,
        Mood(random.choice((OK, OK, OK, FAIL))),
        products=random.choice((4, 8, 12)),
        changes=random.choice((0, 10, 40)),
        operations=random.choice((0, 0, 5)),
        workers=random.choice((2, 3, 4)),
        busy=busy,
        schedule=random.choice((LONG, SHORT)),
        breaker=replace(SENSITIVE, max_rate=random.choice((None, None, 0.5, 3.0))),
        pauses=pauses,
        max_in_flight=min(in_flight // 2, 60_000),
        page=random.choice((3, 400)),
    )


def _spans_of(random: Random, busy: float) -> Spans:
    begins = (random.uniform(0, busy) for _ in range(random.choice((1, 2, 5))))
    return tuple((it, min(busy, it + random.choice((5.0, 60.0, 600.0, busy)))) for it in begins)


def _pause_of(random: Random, busy: float) -> Pause:
    begin = random.uniform(10, busy)
    end = min(begin + random.choice((60.0, 400.0)), busy)
    return Pause(begin, end, resumed=random.random() < 0.5)


def outage(seed: int) -> Plan:
    """The supply chain is down for most of the time, and changes go on."""
    mood = Mood(OK, ((60.0, BUSY),), Random(seed).choice((None, None, 60.0)))
    faults = Faults(until=BUSY, duplicate=0.2)
    return _long(seed, mood, faults, products=10, changes=30)


def flapping(seed: int) -> Plan:
    """The supply chain comes and goes; no budget ends before its horizon."""
    random = Random(seed)
    period = random.choice((20.0, 60.0, 150.0))
    spans = tuple((n * period, (n + random.uniform(0.3, 0.9)) * period) for n in range(200))
    busy = random.choice((BUSY, 5400.0))
    mood = Mood(OK, tuple(span for span in spans if span[1] < busy))
    return replace(_long(seed, mood, products=10, changes=6, busy=busy), schedule=SHORT)


def poison(seed: int) -> Plan:
    """One product always fails, whatever the supply chain does; an outage of all ends."""
    mood, calm = Mood(OK, ((0.0, 600.0),), poison=1), Mood(OK, poison=1)
    plan = _long(seed, mood, products=4, changes=0, busy=600.0)
    return replace(plan, calm=calm, breaker=replace(SENSITIVE, failures=3, successes=4))


def paused(seed: int) -> Plan:
    """An operator pauses, with or without an end; some requests crash without an answer."""
    random = Random(seed)
    pause = Pause(random.uniform(1, 300), 900.0, resumed=random.random() < 0.5)
    faults = Faults(until=900.0, crash=random.choice((0, 0.03)))
    plan = _long(seed, Mood((2, 1, 0, 0, 0, 0)), faults, products=8, changes=30, busy=900.0)
    return replace(plan, pauses=(pause,))


def limited(seed: int) -> Plan:
    """All workers together make few calls a second, and many changes arrive."""
    rate = Random(seed).choice((0.5, 3.0))
    plan = _long(seed, Mood(OK), products=30, changes=120, busy=300.0, workers=4)
    return replace(plan, breaker=replace(SENSITIVE, max_rate=rate))


def parked(seed: int) -> Plan:
    """More products wait than the queue may have in flight; the breaker never opens."""
    faults = Faults(until=BUSY, in_flight=40)
    plan = _long(seed, Mood((1, 3, 0, 0, 0, 0)), faults, products=30, changes=20, workers=2)
    return replace(plan, breaker=NEVER, max_in_flight=6)


def catch_up(seed: int) -> Plan:
    """Many wait when an outage ends: they are delivered page by page, oldest change first."""
    mood = Mood(OK, ((2.0, BUSY),))
    return replace(_long(seed, mood, products=30, changes=20), page=5)


def lost_probe(seed: int) -> Plan:
    """The worker that has the probe crashes, or stops for longer than a probe takes."""
    faults = Faults(until=600.0, crash=0.05, pause=0.03)
    return _long(seed, Mood(OK, ((30.0, 500.0),)), faults, products=6, changes=10, busy=600.0)


def redrive_of_many(seed: int) -> Plan:
    """An operator redrives once, while products that were redriven fail again in other ways."""
    # All are exhausted or rejected by then.
    mood = Mood((0, 1, 1, 0, 0, 0))
    plan = Plan(seed, Faults(), mood, mood, products=12, changes=0, busy=2400.0, breaker=NEVER)
    return replace(plan, schedule=Schedule(2, 60, 60), redrives=((1200.0, {}),), page=2)


def retry_now(seed: int) -> Plan:
    """What is retried is redriven once, while it fails again: beside outages, crashes, duplicates.

    A second redrive, of what has failed, all or by an error, joins the first one. Two copies of
    reconcile do the pages.
    """
    random = Random(f"retry now {seed}")
    begin = random.uniform(30, 400)
    faults = Faults(
        until=600.0,
        crash=random.choice((0, 0.02, 0.05)),
        duplicate=random.choice((0, 0.2)),
        skew=random.choice((0, 2.0)),
    )
    spans = tuple(sorted(_spans_of(random, 600.0))) if random.random() < 0.5 else ()
    mood = Mood(random.choice(((1, 6, 0, 0, 0, 0), (1, 4, 1, 0, 0, 0))), spans)
    plan = _long(seed, mood, faults, products=12, changes=3, busy=600.0)
    redrives: tuple[tuple[float, Json], ...] = (
        (begin, {"status": "retrying"}),
        (begin + random.choice((0.2, 5.0)), random.choice(({}, {"errorKind": "http-500"}))),
    )
    breaker = replace(SENSITIVE, max_rate=2.0) if random.random() < 0.3 else SENSITIVE
    return replace(
        plan,
        breaker=random.choice((breaker, NEVER)),
        schedule=random.choice((LONG, SHORT, SHORT)),
        redrives=redrives if random.random() < 0.5 else redrives[:1],
        page=2,
        reconcilers=2,
    )


def audit(seed: int) -> Plan:
    """Somebody changes what the supply chain holds; audits run while writes and faults go on."""
    random = Random(f"audit {seed}")
    faults = Faults(
        until=900.0,
        crash=random.choice((0, 0.01, 0.03)),
        error=random.choice((0, 0.01)),
        duplicate=random.choice((0, 0.2)),
        skew=random.choice((0, 0.5)),
        lags=random.choice(((0.02,), (0.02, 3.0))),
        failovers=random.choice(((), (random.uniform(0, 900), random.uniform(0, 900)))),
    )
    spans = tuple(sorted(_spans_of(random, 900.0))) if random.random() < 0.4 else ()
    mood = Mood(random.choice((OK, (6, 1, 0, 1, 1, 1), (3, 1, 0, 0, 0, 2))), spans)
    plan = _long(seed, mood, faults, products=8, changes=random.choice((0, 15)), busy=900.0)
    pause = _pause_of(random, 900.0)
    return replace(
        plan,
        schedule=SHORT,
        pauses=(pause,) if random.random() < 0.3 else (),
        audits=tuple(random.uniform(60, 850) for _ in range(3)),
        tampering=tuple(random.uniform(30, 900) for _ in range(10)),
        sample=random.choice((0, 0, 3)),
        breaker=replace(SENSITIVE, max_rate=random.choice((None, None, 3.0))),
        reconcilers=random.choice((1, 2)),
    )


def restore(seed: int) -> Plan:
    """The store is restored to an earlier time, while writes and faults go on; it is made whole."""
    random = Random(f"restore {seed}")
    backup = random.uniform(0, 300)
    disaster = random.uniform(backup, 900)
    # What is delivered past the stream meanwhile, only the supply chain knows.
    outage: dict[str, Spans] = {"stream": ((backup, random.choice((disaster, 1000.0))),)}
    faults = Faults(
        until=1200.0,
        crash=random.choice((0, 0.01, 0.03)),
        error=random.choice((0, 0.01)),
        pause=random.choice((0, 0, 0.01)),
        duplicate=random.choice((0, 0.2)),
        skew=random.choice((0, 0.5)),
        lags=random.choice(((0.02,), (0.02, 3.0))),
        away=outage if random.random() < 0.5 else {},
        failovers=random.choice(((), (random.uniform(0, 1200), random.uniform(600, 1200)))),
    )
    mood = Mood(random.choice((OK, (6, 1, 0, 1, 1, 1), (6, 1, 1, 0, 1, 1))))
    plan = _long(seed, mood, faults, products=8, changes=random.choice((10, 40)), busy=1200.0)
    return replace(
        plan,
        schedule=SHORT,
        operations=random.choice((0, 4)),
        restored=(backup, disaster),
        started_again=random.choice((0, 0, 1, 2)),
        reconcilers=random.choice((1, 2)),
    )


def lost_stream(seed: int) -> Plan:
    """The stream is lost with all that it holds, and the queue is purged, while writes go on.

    In the end the catalog is published again for a new listener.
    """
    random = Random(f"lost stream {seed}")
    plan = audit(seed)
    faults = replace(
        plan.faults,
        away={"stream": ((200.0, 260.0),)} if random.random() < 0.3 else {},
        streams_lost=tuple(random.uniform(30, 900) for _ in range(random.choice((1, 2, 3)))),
        purges=tuple(random.uniform(30, 900) for _ in range(random.choice((0, 1, 2)))),
    )
    times = tuple(random.uniform(60, 850) for _ in range(2))
    return replace(plan, faults=faults, changes=15, audits=(), tampering=(), republishes=times)


NEVER = BreakerPolicy(failures=10**9)


def _long(
    seed: int,
    mood: Mood,
    faults: Faults | None = None,
    *,
    products: int,
    changes: int,
    busy: float = BUSY,
    workers: int = 3,
) -> Plan:
    return Plan(
        seed,
        faults or Faults(),
        mood,
        products=products,
        changes=changes,
        busy=busy,
        workers=workers,
        schedule=LONG,
        breaker=SENSITIVE,
    )


# ---- single faults ----


def late_event(seed: int) -> Plan:
    """The stream is away for longer than the grace; reconcile delivers meanwhile, in vain."""
    window = Random(seed).choice((120, 1200))
    faults = Faults(until=BUSY, away={"stream": ((0.0, 900.0),)}, window=window)
    return Plan(seed, faults, Mood(REJECT), Mood(REJECT), products=1, changes=0, operations=0)


def lost_consumer(seed: int) -> Plan:
    """The stream's consumer is created again after products were rejected or exhausted."""
    faults = Faults(until=BUSY, consumer_lost=(1500.0,))
    mood = Mood(Random(seed).choice((REJECT, FAIL)))
    return Plan(seed, faults, mood, mood, products=2, changes=0, operations=0)


def duplicates(seed: int) -> Plan:
    """The queue gives each message to two workers at a time, while a budget is used up."""
    faults = Faults(until=BUSY, duplicate=0.5)
    return Plan(seed, faults, Mood(FAIL), Mood(FAIL), products=1, changes=0, operations=0)


def retry_after(seed: int) -> Plan:
    """The supply chain asks for a long wait once, and then fails at once."""
    mood = Mood(FAIL, retry_after=390.0)
    return Plan(seed, Faults(), mood, Mood(FAIL), products=1, changes=0, operations=0, busy=100.0)


def own_outage(seed: int) -> Plan:
    """The store is away for half a horizon, while products are being retried."""
    faults = Faults(until=BUSY, away={"store": ((100.0, 700.0),)})
    return Plan(seed, faults, Mood(FAIL), Mood(FAIL), products=2, changes=0, operations=0)


def replays(seed: int) -> Plan:
    """Operators replay rejected products; the supply chain stores answers by idempotency key."""
    return Plan(seed, Faults(), Mood(REJECT), Mood(OK), changes=0, operations=6, busy=600.0)


def failovers(seed: int) -> Plan:
    """Writes take seconds to reach the majority, and the primary changes often."""
    times = tuple(float(time) for time in range(30, int(BUSY), 30))
    faults = Faults(until=BUSY, lags=(0.02, 15.0), failovers=times)
    return Plan(seed, faults, Mood(OK), Mood(OK), products=1, changes=20, operations=0)


def hot_product(seed: int) -> Plan:
    """One product is changed and replayed again and again while calls for it are under way."""
    faults = Faults(until=120.0, duplicate=0.2, pause=0.02)
    mood = Mood((3, 2, 1, 1, 2, 0))
    return Plan(
        seed,
        faults,
        mood,
        Mood(OK),
        products=1,
        changes=60,
        # A deletion would be its last change.
        deletions=0.01,
        operations=40,
        workers=4,
        busy=120.0,
    )


def changed_during_calls(seed: int) -> Plan:
    """One product is changed again and again while slow calls for it are under way."""
    faults, mood = Faults(until=60.0, duplicate=0.2), Mood((3, 1, 0, 1, 1, 0))
    return Plan(seed, faults, mood, Mood(OK), 1, changes=30, deletions=0, busy=60.0)


def denials(seed: int) -> Plan:
    """The supply chain says at random that there is no such product, although it holds it."""
    mood = Mood((3, 0, 0, 1, 0, 2))
    return Plan(seed, Faults(), mood, products=3, changes=15, busy=600.0)


def deadly_message(seed: int) -> Plan:
    """Each call for one product crashes its worker, until the queue gives its message up."""
    faults = Faults(until=BUSY, duplicate=0.1)
    return Plan(seed, faults, products=2, changes=0, receives=8, deadly=True)


def three_days(seed: int) -> Plan:
    """The schedule of production: 18 attempts in 72 hours, every one fails.

    Reconcile comes every ten minutes: with nothing to repair, its runs are what three days cost.
    """
    schedule = Schedule()
    return Plan(
        seed,
        Faults(),
        Mood(FAIL),
        Mood(FAIL),
        2,
        0,
        0,
        2,
        busy=60.0,
        schedule=schedule,
        grace=300.0,
        period=600.0,
    )


SCENARIOS: dict[str, Callable[[int], Plan]] = {
    make.__name__.replace("_", "-").removesuffix("-plan"): make
    for make in (
        random_plan,
        faultless,
        late_event,
        lost_consumer,
        duplicates,
        retry_after,
        own_outage,
        replays,
        failovers,
        hot_product,
        changed_during_calls,
        denials,
        deadly_message,
        three_days,
        outages,
        outage,
        flapping,
        poison,
        paused,
        limited,
        parked,
        catch_up,
        lost_probe,
        redrive_of_many,
        retry_now,
        audit,
        restore,
        lost_stream,
    )
}
