"""Plans of runs: random ones, and named scenarios that each show a fault the code once had."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from chalicelib.domain.retry import Schedule
from simulation.faults import Faults, draw
from simulation.plan import Plan
from simulation.supply_chain import Mood

BUSY = 1800.0
OK, FAIL, REJECT = (1, 0, 0, 0, 0, 0), (0, 1, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0)


def random_plan(seed: int) -> Plan:
    """Draw everything; one run in seven has no fault."""
    random = Random(f"plan {seed}")
    if random.random() < 0.15:
        return faultless(seed)
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
    return Plan(seed, faults, mood, Mood(OK), 1, changes=60, operations=40, workers=4, busy=120.0)


def denials(seed: int) -> Plan:
    """The supply chain says at random that there is no such product, although it holds it."""
    mood = Mood((3, 0, 0, 1, 0, 2))
    return Plan(seed, Faults(), mood, products=3, changes=15, busy=600.0)


def deadly_message(seed: int) -> Plan:
    """Each call for one product crashes its worker, until the queue gives its message up."""
    faults = Faults(until=BUSY, duplicate=0.1)
    return Plan(seed, faults, products=2, changes=0, receives=8, deadly=True)


def three_days(seed: int) -> Plan:
    """The schedule of production: 18 attempts in 72 hours, every one fails."""
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
        denials,
        deadly_message,
        three_days,
    )
}
