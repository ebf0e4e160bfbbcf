"""The store is restored to an earlier time, and an operator makes it whole: docs/disaster.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from chalicelib.domain.product import Product
from chalicelib.domain.restore import Phase, newest, product_of
from simulation.outages import BrokenPromiseError
from simulation.roles import Parts
from simulation.scheduler import Process

if TYPE_CHECKING:
    from simulation.servers import Snapshot
    from simulation.world import World

AGAIN_SECONDS = 0.3
LOOK_SECONDS = 5.0
"""How often the operator looks, and asks again what was not answered."""


class Disaster:
    """What happens on the worst day of a run, and what must be true in its middle."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._backup: Snapshot | None = None
        self._wanted: dict[str, Product] = {}
        self._delivered: set[str] = set()
        self._lost: set[str] = set()

    def plan(self) -> None:
        """Let it happen, if it is planned."""
        if self._world.plan.restored is not None:
            backup, disaster = self._world.plan.restored
            self._at(backup, self._back_up)
            self._at(disaster, self._strike)

    def _at(self, after: float, act: Callable[[], object]) -> None:
        self._world.scheduler.spawn(Process("operator"), act, after)

    def _back_up(self) -> None:
        self._backup = self._world.store.back_up()

    def _strike(self) -> None:
        """All processes are stopped, and those that follow are read-only."""
        world = self._world
        if self._backup is None:
            return
        world.say("fate", "the store is restored to an earlier time")
        world.restart(restoring=True)
        lost = world.store.products.keys()
        world.store.go_back(self._backup)
        told = [found for item in world.stream.log if (found := product_of(item.data))]
        self._wanted = newest([*world.store.products.values(), *told])
        self._delivered = {
            name
            for name, it in world.store.products.items()
            if it.sync.delivered_version is not None
        }
        self._lost = self._lost_now()
        world.promises.forget(lost - self._wanted.keys())
        self._start()

    def _start(self) -> None:
        """Start the restore; again if that is not answered, and again if that is planned."""
        world, answered = self._world, list[bool]()

        def start(parts: Parts) -> None:
            parts.restores().start({})
            answered.append(True)

        def look() -> None:
            if answered:
                self._look()
            else:
                world.people.request("restore", start)
                self._at(LOOK_SECONDS, look)

        look()
        phases = world.random.choices((Phase.LIFTING, Phase.LIFTED), k=world.plan.started_again)
        self._start_again(start, phases)

    def _start_again(self, start: Callable[[Parts], None], phases: list[Phase]) -> None:
        """Start it again when it is in the next one of these phases."""
        world, run = self._world, self._world.store.stored_restore.run
        if not phases or not world.restoring:
            return
        if run is not None and run.phase is phases[0]:
            world.people.request("restore", start)
            phases = phases[1:]
        self._at(AGAIN_SECONDS, lambda: self._start_again(start, phases))

    def _look(self) -> None:
        """Accept writes again once every product is lifted."""
        world, run = self._world, self._world.store.stored_restore.run
        if run is None or run.phase is not Phase.LIFTED:
            self._at(LOOK_SECONDS, self._look)
            return
        self._judge()
        world.store.forget_history()
        world.say("operator", "sets CATALOG_MODE=normal")
        world.restart(restoring=False)

    def _judge(self) -> None:
        """Everything that store or stream knew is there, above all that was ever given out."""
        store, accepted = self._world.store, self._world.supply_chain.accepted
        for name, wanted in self._wanted.items():
            found = store.products.get(name)
            if found is None or _data(found) != _data(wanted):
                raise BrokenPromiseError(f"the restore has made {found} of {wanted}")
            given_out = max([wanted.version, *accepted[name]])
            if found.version <= given_out or found.sync.lease is not None:
                raise BrokenPromiseError(f"{found} is not lifted above {given_out}")
        run = store.stored_restore.run
        if run is None or run.unanswered:
            return
        listed, before, lost = {loss.id for loss in run.losses}, self._lost, self._lost_now()
        # A call of before may be applied long after its worker has ended, also after the question.
        if not before & lost <= listed <= before | lost:
            raise BrokenPromiseError(f"{before}, {lost} are lost, and listed are: {run.losses}")

    def _lost_now(self) -> set[str]:
        """Name the products of which only the supply chain knows the newest version."""
        contents = self._world.supply_chain.contents
        held = {name: it.version for name, it in contents.items()}
        gone = self._delivered - held.keys()
        return {
            name
            for name, it in self._wanted.items()
            if held.get(name, -1) > it.version or (name in gone and it.deleted_at is None)
        }

    def check(self) -> None:
        """The restore has come to its end. Raises BrokenPromiseError."""
        run = self._world.store.stored_restore.run
        if self._wanted and (run is None or run.phase is not Phase.DONE):
            raise BrokenPromiseError(f"the restore does not end: {run}")


def _data(product: Product) -> tuple[object, bool]:
    return product.fields.price, product.deleted_at is not None
