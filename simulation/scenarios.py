"""Named courses of a run, and the random one."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from simulation.faults import Faults, draw
from simulation.run import Plan
from simulation.supply_chain import Mood

BUSY = 1800.0


def random_plan(seed: int) -> Plan:
    """Draw everything."""
    random = Random(f"plan {seed}")
    faults = Faults() if random.random() < 0.15 else draw(random, BUSY)
    weights = random.choice(
        ((1, 0, 0, 0, 0), (3, 4, 1, 1, 1), (1, 6, 1, 1, 1), (1, 1, 1, 0, 0), (0, 1, 0, 0, 0))
    )
    calm = random.choice(((1, 0, 0, 0, 0), (0, 1, 0, 0, 0), (0, 0, 1, 0, 0)))
    away = ((random.uniform(0, BUSY), BUSY),) if random.random() < 0.2 else ()
    mood = Mood(weights, away, random.choice((None, None, 30.0, 300.0)))
    if faults == Faults():
        mood = Mood(random.choice(((1, 0, 0, 0, 0), (1, 1, 0, 0, 0))))
    return Plan(
        seed,
        faults,
        mood,
        Mood(calm),
        products=random.choice((1, 1, 2, 3)),
        changes=random.choice((0, 2, 6)),
        operations=random.choice((0, 2, 5)) if faults != Faults() else 0,
        workers=random.choice((2, 3, 4)),
    )


SCENARIOS: dict[str, Callable[[int], Plan]] = {"random": random_plan}
