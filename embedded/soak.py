"""`make soak`: everything that can break does, under load, and then nothing may be lost.

Runs a separate embedded stack in a temporary folder, each role with a proxy before each server that
it uses. For the given minutes products are written, while links suffer from faults, processes are
killed and started again, and the supply chain fails, is down, or rejects products. A seed decides
what happens and when. Then all faults end, and what the API has acknowledged must arrive: the
supply chain holds the newest version of each product, or the product has failed and has one dead
letter.

Exit code 0 only if so. After a failure logs, data, `events.log` and `writes.log` are kept.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import requests
import simplejson

from chalicelib.settings import SettingsError
from embedded.demo import Client, DemoError, ProgressLine
from embedded.history import STILL_HELD, History, Json, World, Write, misled, refusals, violations
from embedded.network import PAIRS, Fault, Links
from embedded.processes import free_port
from embedded.services import (
    ROLES,
    SERVERS,
    StackError,
    local_session,
    sqs_client,
    without_settings,
)
from embedded.stack import Stack, StackInfo, on_own_stack

Card = TypeVar("Card")

SETTINGS = {
    "SYNC_HORIZON_SECONDS": "120",
    "SYNC_MAX_WAIT_SECONDS": "10",
    "RECONCILE_GRACE_SECONDS": "3",
    "SUPPLY_CHAIN_TIMEOUT_SECONDS": "1",
}
WRITERS = 4
WRITES_PER_SECOND = 2.0
"""Of each writer."""
ANSWER_SECONDS = 29.0
"""API Gateway gives up then, so a write that takes longer is a violation."""
KEPT = 40
"""How many of its products a writer changes: the last ones."""
BATCH = 10
BURST, BURST_SECONDS = 3, (0.0, 0.4)
"""Patches in a row, and the times between. The call for one may be under way at the next."""
FAULTS_AT_ONCE = 3
FAULT_SECONDS = (0.5, 6.0)
"""Shorter than a lease. What a killed process has sent may arrive at the end of a black hole."""
KILL_EVERY = (4.0, 10.0)
DOWN_SECONDS = (0.0, 4.0)
CHAIN_EVERY = (3.0, 8.0)
CHAIN_RATES = (0.0, 0.1, 0.3, 0.6, 1.0)
CHAIN_LATENCIES = (0.0, 0.1, 0.5)
CONVERGE_SECONDS = 240.0
SETTLED_SECONDS = 45.0
"""Longer than dead letters that a killed process had received stay invisible."""
# Left out: the supply chain may still apply a call whose connection is broken for the client, and
# then see a second call at the same time. No client can detect that.
NOT_AT_THE_SUPPLY_CHAIN = {Fault.ORPHAN}
LINKS = tuple(
    (pair, fault)
    for pair in PAIRS
    for fault in Fault
    if pair[1] != "supplyChain" or fault not in NOT_AT_THE_SUPPLY_CHAIN
)


class SoakError(Exception):
    """A promise is broken, or the soak could not go on; the message says why."""


EXPECTED = (SoakError, DemoError, StackError, SettingsError, OSError)


class Run:
    """What the threads of a soak share: its stack, its time, its seed, and what has happened."""

    def __init__(self, stack: Stack, links: Links, seed: int) -> None:
        self.stack, self.links, self.seed = stack, links, seed
        self.info: StackInfo = stack.up()
        self.began = time.monotonic()
        self.stopping = threading.Event()
        self.counts: Counter[str] = Counter()
        self.calls: list[Json] = []
        """What the supply chain saw before it was killed; its calls are in its memory only."""
        self._events = (stack.run_dir / "events.log").open("a")
        self._failures: list[str] = []

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self.began

    def dice(self, name: str) -> random.Random:
        """Give a thread's own random numbers."""
        return random.Random(f"{self.seed} {name}")

    def note(self, kind: str, text: str = "") -> None:
        """Count what happens, and write it down."""
        self.counts[kind] += 1
        self._events.write(f"{self.seconds:7.1f} s {kind} {text}\n")
        self._events.flush()

    def pause(self, dice: random.Random, seconds: tuple[float, float]) -> None:
        """Wait for a random time, or until the end."""
        self.stopping.wait(dice.uniform(*seconds))

    def thread(self, name: str, work: Callable[[random.Random], None]) -> threading.Thread:
        """Start a thread that works until the end. Its error ends the soak."""

        def survive() -> None:
            try:
                work(self.dice(name))
            except Exception as error:  # noqa: BLE001 - raised by `check`, on the main thread
                self._failures.append(f"{name}: {type(error).__name__}: {error}")
                self.stopping.set()

        thread = threading.Thread(target=survive, name=name)
        thread.start()
        return thread

    def check(self) -> None:
        """Raise SoakError if a thread could not go on."""
        if self._failures:
            raise SoakError("; ".join(self._failures))


# ---- load ----


class Writer:
    """Writes products of its own, one write after another, so that it knows which is the newest."""

    def __init__(self, run: Run, number: int) -> None:
        self.histories: dict[str, History] = {}
        self.slowest = Write("none", 0, 0, None, 0)
        self._run = run
        self._number = number
        self._session = local_session()
        self._session.headers["Authorization"] = f"Bearer {run.info['token']}"
        self._marks = itertools.count(number, WRITERS)

    def work(self, dice: random.Random) -> None:
        """Write until the end."""
        ways = (self._create, self._create_batch, self._replace, self._patch, self._delete)
        while not self._run.stopping.is_set():
            (way,) = dice.choices(ways, weights=(30, 3, 30, 25, 12))
            way(dice)
            self._run.stopping.wait(dice.expovariate(WRITES_PER_SECOND))

    def _create(self, _: random.Random) -> None:
        body = self._body(next(self._marks))
        write, answer = self._send("create", "POST", "/products", body)
        self._created(write, answer)

    def _create_batch(self, _: random.Random) -> None:
        bodies = [self._body(next(self._marks)) for _ in range(BATCH)]
        write, answer = self._send("batch", "POST", "/products/batch", {"items": bodies})
        # Without an answer there are no items.
        for item, body in zip(answer.get("items", ()), bodies, strict=False):
            one = Write("batch", write.at, write.seconds, item["status"], body["quantity"], 0)
            self._created(one, item.get("product", {}))

    def _created(self, write: Write, product: Json) -> None:
        if write.acknowledged and "id" in product:
            self.histories[product["id"]] = History([write])

    def _replace(self, dice: random.Random) -> None:
        self._change(dice, "replace", "PUT", self._body)

    def _patch(self, dice: random.Random) -> None:
        self._change(dice, "patch", "PATCH", lambda mark: {"quantity": mark}, times=BURST)

    def _delete(self, dice: random.Random) -> None:
        self._change(dice, "delete", "DELETE", lambda _: None)

    def _change(
        self,
        dice: random.Random,
        action: str,
        method: str,
        body: Callable[[int], object],
        times: int = 1,
    ) -> None:
        living = [key for key, it in self.histories.items() if not it.may_be_deleted][-KEPT:]
        if living:
            product_id = dice.choice(living)
            for _ in range(times):
                content = body(next(self._marks))
                write, _ = self._send(action, method, f"/products/{product_id}", content)
                self.histories[product_id].writes.append(write)
                self._run.pause(dice, BURST_SECONDS)

    def _body(self, mark: int) -> Json:
        return {"name": f"Product {self._number}", "price": mark % 1000 + 1, "quantity": mark}

    def _send(self, action: str, method: str, path: str, body: object) -> tuple[Write, Json]:
        mark = body.get("quantity", 0) if isinstance(body, dict) else 0
        began, at = time.monotonic(), self._run.seconds
        status, content = self._request(method, path, body)
        seconds = time.monotonic() - began
        self._run.counts[f"write {status or 'without an answer'}"] += 1
        write = Write(action, at, seconds, status, mark, content.get("version"))
        self.slowest = max(self.slowest, write, key=lambda it: it.seconds)
        return write, content

    def _request(self, method: str, path: str, body: object) -> tuple[int | None, Json]:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Content-Type": kind}
        data = None if body is None else simplejson.dumps(body)
        url = self._run.info["api"] + path
        try:
            answer = self._session.request(
                method, url, data=data, headers=headers, timeout=ANSWER_SECONDS
            )
        except requests.RequestException as error:
            if isinstance(error, requests.Timeout):
                self._run.note("hang", f"{method} {path}")
            return None, {}
        if answer.status_code == 503 and "Retry-After" not in answer.headers:
            self._run.note("503 without Retry-After", f"{method} {path}")
        return answer.status_code, answer.json() if answer.ok and answer.content else {}


# ---- faults ----


def deck(cards: Sequence[Card], dice: random.Random) -> Iterator[Card]:
    """Give all cards in random order, again and again."""
    while True:
        yield from dice.sample(cards, len(cards))


def break_links(run: Run, dice: random.Random) -> None:
    """Let up to `FAULTS_AT_ONCE` links suffer, until the end."""
    suffering: dict[tuple[str, str], float] = {}
    cards = deck(LINKS, dice)
    while not run.stopping.is_set():
        for pair in [pair for pair, ends in suffering.items() if ends < run.seconds]:
            del suffering[pair]
            run.links.proxies[pair].end()
        if len(suffering) < FAULTS_AT_ONCE:
            pair, fault = next(cards)
            suffering[pair] = run.seconds + dice.uniform(*FAULT_SECONDS)
            run.links.proxies[pair].begin(fault)
            run.note(fault, " to ".join(pair))
        run.pause(dice, (0.1, 1.0))


def kill_processes(run: Run, dice: random.Random) -> None:
    """SIGKILL one or two processes at a time, and start them again, until the end."""
    cards = deck((*ROLES, *SERVERS), dice)
    run.pause(dice, KILL_EVERY)
    while not run.stopping.is_set():
        for name in {next(cards) for _ in range(dice.choice((1, 1, 2)))}:
            if name == "supplyChain":
                run.calls += calls(run.info)
            run.stack.kill(name)
            run.note("SIGKILL", name)
        run.pause(dice, DOWN_SECONDS)
        run.stack.up()
        run.pause(dice, KILL_EVERY)


def trouble_supply_chain(run: Run, dice: random.Random, writers: Sequence[Writer]) -> None:
    """Change how the supply chain fails, until the end; sometimes it rejects one more product."""
    rejected: list[str] = []
    while not run.stopping.is_set():
        living = list(itertools.chain(*(list(writer.histories)[-KEPT:] for writer in writers)))
        if living and dice.random() < 0.3:
            rejected.append(dice.choice(living))
        rate, latency = dice.choice(CHAIN_RATES), dice.choice(CHAIN_LATENCIES)
        if control(run.info, failureRate=rate, latencySeconds=latency, rejectIds=rejected):
            text = f"fails {rate:.0%}, takes {latency} s, rejects {len(rejected)}"
            run.note("supply chain", text)
        run.pause(dice, CHAIN_EVERY)


def control(info: StackInfo, **settings: object) -> bool:
    """Change the fake supply chain's settings; False if it is down."""
    try:
        with local_session() as session:
            url = f"{info['supplyChain']}/_control"
            session.put(url, json=settings, timeout=5).raise_for_status()
    except requests.RequestException:
        return False
    return True


def calls(info: StackInfo) -> list[Json]:
    """Give the calls that the supply chain has seen since it was started."""
    with local_session() as session:
        answer = session.get(f"{info['supplyChain']}/_control/calls", timeout=30)
    return list(answer.json()["items"])


# ---- the end ----


def world(run: Run, client: Client) -> World:
    """Read what there is."""
    letters = Counter(dead_letters(run.info))
    catalog = {product["id"]: product for product in client.products()}
    held = {product["id"]: product for product in client.delivered()}
    failed = {key for key, it in catalog.items() if it["syncStatus"] in ("exhausted", "rejected")}
    # The list has no deleted products; only those that are suspicious are asked for.
    gone = (held.keys() | letters.keys()) - catalog.keys()
    failed |= {key for key in gone if status(run.info, key) in ("exhausted", "rejected")}
    return World(catalog, held, failed, letters)


def status(info: StackInfo, product_id: str) -> str | None:
    """Give the sync status of a product, deleted or not; None if it is not even a tombstone."""
    with local_session() as session:
        headers = {"Authorization": f"Bearer {info['token']}"}
        url = f"{info['api']}/products/{product_id}/sync"
        answer = session.get(url, headers=headers, timeout=ANSWER_SECONDS)
    return answer.json()["status"] if answer.ok else None


def dead_letters(info: StackInfo) -> Iterator[str]:
    """Give the product id of each dead letter, and leave them where they are."""
    client, url = sqs_client(info["sqs"]), info["dlqUrl"]
    receipts: list[str] = []
    while messages := client.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=30, WaitTimeSeconds=1
    ).get("Messages"):
        receipts += [message["ReceiptHandle"] for message in messages]
        yield from (simplejson.loads(message["Body"])["productId"] for message in messages)
    for receipt in receipts:
        client.change_message_visibility(QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=0)


def converge(run: Run, histories: Mapping[str, History]) -> list[tuple[str, str]]:
    """Wait until every promise is kept; give what is still broken when the time is up."""
    client, line, waited = Client(run.info), ProgressLine(), False
    deadline = time.monotonic() + CONVERGE_SECONDS
    while True:
        counts = client.progress()["products"]
        waiting, late = counts["pending"] + counts["retrying"], time.monotonic() > deadline
        line.show(f"converging: {counts}")
        if late or not waiting:
            broken = inspect(run, client, histories)
            if late or not broken:
                line.end(f"{counts}")
                return broken
            if not waited:
                # Nobody works at it any more, but for dead letters.
                waited, deadline = True, min(deadline, time.monotonic() + SETTLED_SECONDS)
        time.sleep(1)


def inspect(run: Run, client: Client, histories: Mapping[str, History]) -> list[tuple[str, str]]:
    """Give what is broken now. Reconcile is stopped meanwhile: it receives dead letters too."""
    run.stack.stop("reconcile")
    lied = misled(run.calls + calls(run.info))
    try:
        found = list(violations(histories, world(run, client)))
        return [it for it in found if it[1] != STILL_HELD or it[0] not in lied]
    finally:
        run.stack.up()


def wrong_calls(seen: Sequence[Json]) -> Iterator[tuple[str, str]]:
    """Give (product id, what is wrong) for calls that may never be made."""
    for call in seen:
        if call["outcome"] == "stale":
            yield call["id"], f"version {call['version']} was sent after a newer one"
        if call["concurrent"]:
            yield call["id"], f"two calls at once, at {call['time']}"


def report(run: Run, products: int, slowest: Write, seconds: float) -> None:
    """Print what happened."""
    lied = misled(run.calls)
    rows: dict[str, object] = {
        "seed": run.seed,
        "products": products,
        **dict(sorted(run.counts.items())),
        "calls": len(run.calls),
        "deletes wrongly denied": len(lied),
        "slowest write": str(slowest),
        "time to converge": f"{seconds:.1f} s",
    }
    for name, value in rows.items():
        print(f"  {name:26}{value}")


def soak(run: Run, minutes: float) -> None:
    """Write and break for so many minutes, then check. Raises SoakError."""
    writers = [Writer(run, number) for number in range(WRITERS)]
    threads = [run.thread(f"writer {n}", writer.work) for n, writer in enumerate(writers)]
    threads += [
        run.thread("links", lambda dice: break_links(run, dice)),
        run.thread("kills", lambda dice: kill_processes(run, dice)),
        run.thread("supply chain", lambda dice: trouble_supply_chain(run, dice, writers)),
    ]
    line = ProgressLine()
    try:
        while run.seconds < minutes * 60 and not run.stopping.wait(1):
            written = sum(n for kind, n in run.counts.items() if kind.startswith("write "))
            line.show(f"{run.seconds:.0f} s: {written} writes, {run.counts['SIGKILL']} kills")
    finally:
        run.stopping.set()
        for thread in threads:
            thread.join()
        line.end("")
    run.check()
    end(run, writers)


def end(run: Run, writers: Sequence[Writer]) -> None:
    """End all faults, wait, and judge. Raises SoakError."""
    histories = {key: it for writer in writers for key, it in writer.histories.items()}
    run.links.end()
    run.info = run.stack.up()
    control(run.info, failureRate=0, latencySeconds=0)
    began = time.monotonic()
    broken = converge(run, histories)
    seconds = time.monotonic() - began
    run.calls += calls(run.info)
    broken += [*refusals(histories), *wrong_calls(run.calls)]
    broken += [("-", kind) for kind in ("hang", "503 without Retry-After") if run.counts[kind]]
    slowest = max((writer.slowest for writer in writers), key=lambda write: write.seconds)
    report(run, len(histories), slowest, seconds)
    if broken:
        keep(run, histories)
        raise SoakError("\n".join([f"{len(broken)} violations:", *told(broken[:20], histories)]))
    print("everything that the API has acknowledged has arrived")


def told(broken: Sequence[tuple[str, str]], histories: Mapping[str, History]) -> Iterator[str]:
    """Tell each violation with the product's history."""
    for product_id, reason in broken:
        yield f"{product_id}: {reason}"
        yield from (f"    {write}" for write in histories.get(product_id, History()).writes)


def keep(run: Run, histories: Mapping[str, History]) -> None:
    """Write down the histories and the calls, for diagnosis."""
    lines = [f"{key} {write}" for key, history in histories.items() for write in history.writes]
    (run.stack.run_dir / "writes.log").write_text("\n".join(lines) + "\n")
    lines = [simplejson.dumps(call) for call in run.calls]
    (run.stack.run_dir / "calls.log").write_text("\n".join(lines) + "\n")


def soak_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of the soak's stack, without the developer's settings."""
    return {**without_settings(environ), "PORT": str(free_port()), **SETTINGS}


def main() -> int:
    """Run the soak; give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m embedded.soak", description="break and check")
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}, {arguments.minutes:g} minutes", flush=True)
    links = Links()

    def work(stack: Stack) -> None:
        linked = Stack(stack.run_dir, stack.environ, lambda _: None, links.route)
        soak(Run(linked, links, arguments.seed), arguments.minutes)

    try:
        return on_own_stack("soak", soak_environment(os.environ), work, EXPECTED)
    finally:
        links.close()


if __name__ == "__main__":
    sys.exit(main())
