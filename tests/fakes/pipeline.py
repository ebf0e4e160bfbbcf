"""The use cases on the fakes, connected."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

from chalicelib.adapters.mongo.documents import new_product_id
from chalicelib.domain.breaker import BreakerPolicy
from chalicelib.domain.messages import ReceivedMessage
from chalicelib.domain.product import Product
from chalicelib.domain.retry import Schedule
from chalicelib.usecases.activity import Activity
from chalicelib.usecases.acts import Acts
from chalicelib.usecases.admission import Admissions
from chalicelib.usecases.audit import Auditor, AuditPolicy, Questions, Repairs
from chalicelib.usecases.audits import Audits
from chalicelib.usecases.bridge import Bridge, Bridged
from chalicelib.usecases.catalog import Catalog, Origin, Precondition
from chalicelib.usecases.controls import Controls
from chalicelib.usecases.convergence import Convergence
from chalicelib.usecases.dead_letters import DeadLetters
from chalicelib.usecases.enqueuing import Enqueuer
from chalicelib.usecases.operations import Operations
from chalicelib.usecases.outbox import Outbox
from chalicelib.usecases.parallel import InThreads, Item, Parallel, Result
from chalicelib.usecases.quarantine import Quarantine
from chalicelib.usecases.reconcile import Reconcile, Reconciled
from chalicelib.usecases.republish import Republisher, Republishes
from chalicelib.usecases.restore import Restorer
from chalicelib.usecases.restores import Restores
from chalicelib.usecases.sync import Sync, SyncPolicy
from chalicelib.usecases.undelivered import Undelivered
from tests.fakes.builders import BODY, GRACE, a_product
from tests.fakes.clock import FakeClock
from tests.fakes.queue import FakeQueue
from tests.fakes.store import FakeStore
from tests.fakes.stream import FakeStream
from tests.fakes.supply_chain import FakeSupplyChain


class InOneGroup(InThreads):
    """Threads whose results come together, however busy the machine is.

    What the breaker is told of a batch would depend on it: a second group has to wait for its turn.
    """

    def __call__(
        self, work: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[list[tuple[Item, Result]]]:
        """Give one group."""
        yield [pair for group in super().__call__(work, items) for pair in group]


class Pipeline:
    """The use cases on the fakes, one clock for all, and the hosts' part between them.

    The clock moves only when a test moves it, so a test decides what is due.
    """

    LEASE = timedelta(seconds=70)

    def __init__(
        self,
        *,
        schedule: Schedule | None = None,
        concurrency: int = 10,
        breaker: BreakerPolicy | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.store = FakeStore()
        self.stream = FakeStream(self.clock)
        self.breaker = breaker or BreakerPolicy()
        self.schedule = schedule or Schedule()
        self.policy = SyncPolicy(self.schedule, self.LEASE, GRACE, concurrency, jitter=lambda: 0.0)
        # Without a rolling audit: tests also store products that the supply chain never saw.
        self.audit_policy = AuditPolicy(sample=0)
        self.restoring = False
        self.queue = FakeQueue(self.clock)
        self.supply_chain = FakeSupplyChain(self.clock)
        self.connect()

    def connect(self) -> None:
        """Make the use cases anew, around the fakes that are there now."""
        store, queue, clock = self.store, self.queue, self.clock
        self.outbox = Outbox(store, self.stream)
        self.catalog = Catalog(
            store,
            self.outbox,
            clock=clock,
            grace=GRACE,
            new_id=new_product_id,
            bulk_queue=True,
            restoring=self.restoring,
        )
        self.bridge = Bridge(self.stream, queue, restoring=self.restoring)
        self.controls = Controls(store, pause=lambda _: None)
        enqueuer = Enqueuer(store, queue, clock=clock, grace=GRACE, in_parallel=InThreads())
        convergence = Convergence(store, self.controls, enqueuer, clock=clock)
        self.admissions = Admissions(self.controls, self.breaker, clock=clock)
        self.acts = Acts(store, clock=clock, new_id=new_product_id)
        self.operations = Operations(
            store,
            self.controls,
            enqueuer,
            convergence,
            self.breaker,
            self.acts,
            clock=clock,
            grace=GRACE,
        )
        self.undelivered = Undelivered(store, self.controls, queue, clock=clock)
        self.audits = Audits(
            store,
            self.controls,
            self.acts,
            self.breaker,
            repair=True,
            clock=clock,
            pause=lambda _: None,
        )
        questions = Questions(self.controls, self.supply_chain.ask, self.breaker, clock=clock)
        dead_letters = DeadLetters(store, queue, clock=clock)
        self.restores = Restores(
            store,
            self.controls,
            self.acts,
            self.breaker,
            restoring=self.restoring,
            clock=clock,
            pause=lambda _: None,
        )
        self.restorer = Restorer(
            store,
            self.stream,
            dead_letters,
            self.restores,
            questions,
            self.audits,
            clock=clock,
            grace=GRACE,
        )
        self.auditor = Auditor(
            store,
            self.audits,
            questions,
            Repairs(store, self.outbox, enqueuer, clock=clock, grace=GRACE),
            self.audit_policy,
            self.breaker,
            clock=clock,
        )
        self.republishes = Republishes(
            store,
            self.acts,
            rate=100.0,
            restoring=self.restoring,
            clock=clock,
            pause=lambda _: None,
        )
        self.republisher = Republisher(store, self.republishes, self.outbox, clock=clock)
        self.quarantine = Quarantine(store, self.acts, clock=clock)
        self.reconcile = Reconcile(
            store,
            self.outbox,
            enqueuer,
            dead_letters,
            convergence,
            self.auditor,
            self.republisher,
            self.restorer,
            self.breaker,
            clock=clock,
            grace=GRACE,
            restoring=self.restoring,
            sleep=self.clock.advance,
        )
        self.sync = self.a_worker()

    def a_worker(
        self, in_parallel: Parallel | None = None, admissions: Admissions | None = None
    ) -> Sync:
        """Another sync function, as Lambda runs several; without jitter."""
        return Sync(
            self.store,
            self.queue,
            self.outbox,
            self.supply_chain,
            replace(self.policy, restoring=self.restoring),
            self.admissions if admissions is None else admissions,
            Activity(self.store, clock=self.clock),
            clock=self.clock,
            in_parallel=in_parallel or InOneGroup(),
        )

    def create(self, **changes: object) -> str:
        """Create a product through the catalog; its id."""
        product_id: str = self.catalog.create({**BODY, **changes}, Origin())["id"]
        return product_id

    def put(self, **changes: object) -> Product:
        """Store a product past the catalog, as a writer leaves it that crashed before it relayed.

        `changes` are those of `a_product`.
        """
        product = a_product(**changes)
        self.store.insert([(product, None)])
        return product

    def update(self, product_id: str, **changes: object) -> None:
        """Make a new version."""
        self.catalog.merge(product_id, changes, Precondition(), Origin())

    def product(self, product_id: str) -> Product:
        """The product as it is stored; KeyError if it is gone."""
        return self.store.products[product_id]

    def bridge_once(self) -> Bridged:
        """Forward what is in the stream."""
        return self.bridge.forward_once(timeout=0)

    def sync_once(self) -> list[ReceivedMessage]:
        """Receive a batch, deliver, delete what is not kept, as the hosts do; what was received."""
        messages = self.queue.receive()
        kept = self.sync.handle(messages)
        self.queue.delete([message.receipt for message in messages if message.id not in kept])
        return messages

    def reconcile_once(self, seconds: float = 40) -> Reconciled:
        """Run reconcile, with so much time."""
        end = self.clock() + timedelta(seconds=seconds)

        def seconds_left() -> float:
            # Asked anew each time: the clock moves while reconcile waits.
            return (end - self.clock()).total_seconds()

        return self.reconcile.run(seconds_left)

    def pass_on(self) -> list[ReceivedMessage]:
        """Bridge and sync once each."""
        self.bridge_once()
        return self.sync_once()
