"""What the commands print: JSON for programs, tables of 80 columns for people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from catalogctl import times
from chalicelib.domain import exact_json
from chalicelib.domain.exact_json import Json

NONE = "-"
STYLES = {
    "delivered": "green",
    "pending": "cyan",
    "retrying": "yellow",
    "exhausted": "bold red",
    "rejected": "bold red",
}
_BARS = " ▁▂▃▄▅▆▇█"
Cell = str | Text


def now() -> datetime:
    """Give the current time."""
    return datetime.now(UTC)


def console() -> Console:
    """Give the terminal. Without one there is no colour, and lines have 80 columns."""
    return Console(highlight=False, soft_wrap=False)


def plain(text: object) -> str:
    """Make a text harmless: a product's name may hold what moves the cursor."""
    return "".join(char if char.isprintable() else "\ufffd" for char in str(text))


def styled(text: object, style: str = "") -> Text:
    """Give a cell; square brackets in it are no markup."""
    return Text(plain(text), style)


def show(document: Json, render: Callable[[Json], None], *, as_json: bool) -> None:
    """Print a document of the API as it came, or rendered for people."""
    if as_json:
        line(document)
    else:
        render(document)


def line(document: Json) -> None:
    """Print one line of JSON, numbers digit by digit."""
    typer.echo(exact_json.dumps(document))


def say(text: str) -> None:
    """Tell the person at the terminal something that is no result."""
    typer.echo(text, err=True)


def error(text: str) -> None:
    """Say why the command ends."""
    say(f"error: {text}")


def at(text: object) -> datetime | None:
    """Read a time of the API."""
    return datetime.fromisoformat(text) if isinstance(text, str) else None


def when(text: object) -> str:
    """Show a time of the API, absolute and relative."""
    moment = at(text)
    return times.both(moment, now()) if moment else NONE


def stacked(text: object) -> str:
    """Show a time of the API in two lines, for a narrow column."""
    moment = at(text)
    if moment is None:
        return NONE
    return f"{times.clock(moment, now())}\n{times.distance(moment, now())}"


# ---- tables ----


def table(columns: Iterable[str], rows: Iterable[Iterable[Cell]], empty: str) -> None:
    """Print rows; the last column takes what is left of the width. Without rows print `empty`."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    names = list(columns)
    for name in names[:-1]:
        grid.add_column(name, no_wrap=True, overflow="ellipsis")
    grid.add_column(names[-1], overflow="fold", ratio=1)
    for row in rows:
        grid.add_row(*row)
    if grid.row_count:
        console().print(grid)
    else:
        console().print(empty)


def pairs(rows: Iterable[tuple[str, Cell]]) -> None:
    """Print names and values below each other."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, value)
    console().print(grid)


def two_lines(first: object, second: object, width: int = 24, style: str = "") -> Text:
    """Give a cell of two lines, each cut to `width`."""
    upper, lower = Text(plain(first), style), Text(plain(second), "dim")
    for part in (upper, lower):
        part.truncate(width, overflow="ellipsis")
    return Text("\n").join([upper, lower])


def more(page: Json) -> None:
    """Say that a list has more than was shown."""
    if page.get("nextCursor") is not None:
        say(f"the first {len(page['items'])}; --limit shows more")


# ---- the catalog ----


def summary(document: Json) -> None:
    """Print the state of the whole catalog."""
    counts = document["products"]
    pairs(
        [
            ("products", _counts(counts)),
            ("waiting", _waiting(document)),
            ("stuck", _stuck(document)),
            ("converged", _converging(document)),
            *_throughput(document.get("throughput")),
            ("breaker", _breaker(document["breaker"])),
            ("pause", control_text(document["control"])),
            *_work(document),
            ("audit", audit_text(document.get("audit"))),
        ]
    )


def is_converged(document: Json) -> bool:
    """Say whether every product is delivered, and nothing keeps the next change from it."""
    behind = sum(number for status, number in document["products"].items() if status != "delivered")
    held = document["breaker"]["state"] != "closed" or document["control"]["paused"]
    return not (behind or held or document["outboxBacklog"] or document["unreadable"])


def _counts(counts: Json) -> Text:
    parts = [
        styled(f"{status} {number:,}", STYLES.get(status, "") if number else "dim")
        for status, number in counts.items()
    ]
    return Text(", ").join(parts)


def _age(seconds: object) -> str:
    if not isinstance(seconds, (int, float)) and not hasattr(seconds, "as_tuple"):
        return ""
    began = datetime.fromtimestamp(now().timestamp() - float(seconds), UTC)  # type: ignore[arg-type]
    return f", the oldest since {times.both(began, now())}"


def _waiting(document: Json) -> str:
    counts = document["products"]
    number = counts.get("pending", 0) + counts.get("retrying", 0)
    return f"{number:,}{_age(document['oldestUndeliveredSeconds'])}" if number else "nothing"


def _stuck(document: Json) -> Text:
    stuck = document.get("stuck") or {"count": 0, "oldestSeconds": None}
    if not stuck["count"]:
        return styled("nothing")
    return styled(f"{stuck['count']:,}{_age(stuck['oldestSeconds'])}", "bold red")


def _converging(document: Json) -> str:
    seconds = document.get("estimatedSecondsToConverge")
    if seconds is None:
        return "not known: nothing was delivered lately, or deliveries are held"
    if not seconds:
        return "yes: nothing waits"
    done = datetime.fromtimestamp(now().timestamp() + float(seconds), UTC)
    return f"at about {times.both(done, now())}"


def _throughput(document: Json | None) -> Iterable[tuple[str, Cell]]:
    if document is None:
        return
    rate, failed = document["deliveredPerMinute"], document["failedPerMinute"]
    delivered = [minute["delivered"] for minute in document["minutes"]]
    most = f" (at most {max(delivered):,} in the last hour)" if any(delivered) else ""
    yield "per minute", f"{rate} delivered{most}, {failed} failed"
    if any(delivered):
        yield "last hour", sparkline(delivered)
    if kinds := document["failureKinds"]:
        yield "failures", ", ".join(f"{kind} {number:,}" for kind, number in kinds.items())


def sparkline(numbers: list[int]) -> str:
    """Draw numbers as bars, one character each; only a zero is blank."""
    top = max(numbers)
    return "".join(_BARS[-(-number * 8 // top)] for number in numbers)


def _breaker(breaker: Json) -> Text:
    if breaker["state"] == "closed":
        limit = breaker.get("callsPerSecond")
        return styled("closed" if limit is None else f"closed, at most {limit} calls per second")
    text = f"{breaker['state']} since {when(breaker['since'])}: {breaker['reason']}"
    return styled(text, "bold red")


def control_text(control: Json) -> Text:
    """Say whether the sync is paused."""
    if not control["paused"]:
        return styled("none")
    end = f"until {when(control['until'])}" if control["until"] else "until somebody resumes"
    why = f": {control['reason']}" if control["reason"] else ""
    return styled(f"since {when(control['since'])}, {end}{why}", "yellow")


def control(document: Json) -> None:
    """Print the pause."""
    pairs([("pause", control_text(document))])


def _work(document: Json) -> Iterable[tuple[str, Cell]]:
    if redrive := document["redrive"]:
        yield "redrive", f"{redrive['done']:,} of {redrive['count']:,}"
    if document["catchingUp"]:
        yield "catching up", "what has waited is being brought forward"
    for name, label in (("outboxBacklog", "events"), ("unreadable", "documents")):
        if document[name]:
            text = "not yet published" if name == "outboxBacklog" else "that cannot be read"
            yield label, styled(f"{document[name]:,} {text}", "yellow")


# ---- lists ----


def behind(page: Json) -> None:
    """Print products that are behind."""
    table(
        ("ID, NAME", "STATUS", "BEHIND SINCE", "NEXT", "LAST ERROR"),
        (
            (
                two_lines(item["id"], item.get("name", "")),
                two_lines(
                    item["status"],
                    _tries(item),
                    style=STYLES.get(item["status"], ""),
                ),
                stacked(item["behindSince"]),
                stacked(item["nextAttemptAt"]),
                _error(item),
            )
            for item in page["items"]
        ),
        "nothing is behind",
    )
    more(page)


def _tries(item: Json) -> str:
    return "1 try" if item["attempts"] == 1 else f"{item['attempts']} tries"


def _error(item: Json) -> Text:
    # What the other columns leave of the line.
    width = max(console().width - 67, 12)
    return two_lines(item.get("lastErrorKind") or NONE, item["lastError"] or "", width)


def dead_letters(page: Json) -> None:
    """Print what only an operator can help."""
    table(
        ("ID, NAME", "REASON", "FAILED", "LETTER", "LAST ERROR"),
        (
            (
                two_lines(item["productId"], item["name"]),
                two_lines(item["reason"], _tries(item), style="bold red"),
                stacked(item["failedAt"]),
                "sent" if item["letterSent"] else "not sent",
                _error(item),
            )
            for item in page["items"]
        ),
        "no product is stuck",
    )
    if poison := page.get("poison"):
        shown, number = len(poison), page.get("poisonCount", 0)
        some = f", {shown:,} of {number:,}" if number > shown else ""
        console().print(f"\nmessages that are none of ours{some}:")
        table(
            ("SEEN", "MESSAGE", "REASON, BODY"),
            (
                (
                    stacked(item["seenAt"]),
                    styled(item["messageId"]),
                    two_lines(item["reason"], item["body"], 40),
                )
                for item in poison
            ),
            "",
        )
    more(page)


def acts(page: Json) -> None:
    """Print what operators did."""
    table(
        ("AT", "WHO", "WHAT", "WHY"),
        (
            (
                stacked(item["at"]),
                two_lines(item["who"], "", 20),
                two_lines(item["what"], item["productId"] or _details(item["details"]), 28),
                styled(item["why"] or NONE),
            )
            for item in page["items"]
        ),
        "nobody has done anything yet",
    )
    more(page)


def _details(details: Json) -> str:
    return ", ".join(f"{name} {value}" for name, value in details.items() if value is not None)


# ---- one product ----


def product(document: Json) -> None:
    """Print a product, the state of its delivery, and its attempts."""
    sync, fields = document["sync"], document["product"] or {}
    hidden = {"syncStatus", "syncCompletedAt", "version", "id", "createdAt", "updatedAt"}
    pairs(
        [
            ("id", sync["id"]),
            *((name, styled(_value(fields[name]))) for name in fields if name not in hidden),
            ("version", f"{sync['version']}{', deleted' if sync['deleted'] else ''}"),
            ("changed", when(fields.get("updatedAt"))),
            ("delivered", _delivered(sync)),
            ("status", styled(sync["status"], STYLES.get(sync["status"], ""))),
            *_waiting_of(sync),
        ]
    )
    if sync["history"]:
        console().print()
        table(
            ("ATTEMPT", "VERSION", "STATUS", "TOOK", "ERROR"),
            (_attempt(attempt) for attempt in sync["history"]),
            "",
        )


def _value(value: object) -> str:
    return value if isinstance(value, str) else exact_json.dumps(value)


def _delivered(sync: Json) -> str:
    if sync["deliveredVersion"] is None:
        return "never"
    return f"version {sync['deliveredVersion']}, {when(sync['syncCompletedAt'])}"


def _waiting_of(sync: Json) -> Iterable[tuple[str, Cell]]:
    rows = {
        "behind since": when(sync["behindSince"]),
        "failed at": when(sync.get("failedAt")),
        "next attempt": when(sync["nextAttemptAt"]),
        "held": sync.get("held") or NONE,
        "last error": sync["lastError"] or NONE,
        "trace": sync.get("traceId") or NONE,
    }
    yield from ((name, styled(text)) for name, text in rows.items() if text != NONE)


def _attempt(attempt: Json) -> Iterable[Cell]:
    failed = attempt["error"] is not None
    yield when(attempt["time"])
    yield str(attempt["version"])
    yield styled(attempt["statusCode"] or NONE, "red" if failed else "green")
    yield f"{attempt['durationSeconds']} s"
    yield styled(attempt["error"] or "")


def timeline(document: Json) -> None:
    """Print what has happened to a product, and what will."""
    console().print(
        Text(" ").join(
            [
                styled(document["id"]),
                styled(document["name"], "bold"),
                styled(document["status"], STYLES.get(document["status"], "")),
            ]
        )
    )
    console().print(styled(document["summary"]))
    for name, value in (("held", document["held"]), ("trace", document["traceId"])):
        if value:
            console().print(styled(f"{name}: {value}"))
    table(
        ("TIME", "", "WHAT"),
        (_entry(entry) for entry in document["entries"]),
        "nothing has happened yet",
    )


def _entry(entry: Json) -> Iterable[Cell]:
    style = "red" if entry["failed"] else "dim" if entry["future"] else ""
    moment = at(entry["at"])
    yield styled(times.both(moment, now()) if moment else "", style)
    yield styled(entry["kind"], style)
    yield styled(entry["text"], style)


# ---- audit and events ----


def audit_text(document: Json | None) -> Text:
    """Say in a sentence how the last audit went."""
    if document is None or document["state"] == "none":
        return styled("there was none: catalogctl audit --start")
    progress = f"{document['checked']:,} of {document['total']:,} products"
    if document["state"] == "running":
        return styled(f"running, {progress}, since {when(document['startedAt'])}", "cyan")
    if document["statement"]:
        return styled(document["statement"], "green" if is_proof(document) else "yellow")
    found = f"differences: {_found(document)}"
    return styled(f"{progress}, {found}, {when(document['finishedAt'])}", "yellow")


def is_proof(document: Json) -> bool:
    """Say whether an audit has found every product right; its statement may name exceptions."""
    exceptions = document["behind"] + document["unanswered"] + sum(document["differences"].values())
    return bool(document["statement"]) and not exceptions and not document.get("stoppedBy")


def _found(document: Json) -> str:
    found = {**document["differences"], "unanswered": document["unanswered"]}
    return ", ".join(f"{kind} {number:,}" for kind, number in found.items() if number) or "none"


def audit(document: Json) -> None:
    """Print an audit and its first differences."""
    rows: list[tuple[str, Cell]] = [("audit", audit_text(document))]
    if document["state"] != "none":
        rows += [
            ("by", styled(document["startedBy"])),
            ("differences", _found(document)),
            ("repaired", f"{document['repaired']:,}" if document["repair"] else "not wanted"),
            ("behind", f"{document['behind']:,} were not delivered yet"),
        ]
    if document["held"]:
        rows.append(("waits", styled(document["held"], "yellow")))
    pairs(rows)
    if document["examples"]:
        console().print()
        table(
            ("ID", "DIFFERENCE", "CATALOG", "HELD", "FIELDS"),
            (
                (
                    styled(item["id"]),
                    styled(item["difference"], "" if item["repaired"] else "red"),
                    str(item["version"]),
                    NONE if item["held"] is None else str(item["held"]),
                    styled(", ".join(item["fields"])),
                )
                for item in document["examples"]
            ),
            "",
        )


def is_whole(document: Json) -> bool:
    """Say whether a republish has ended with an event of every product."""
    ended = document["state"] == "done" and not document["stoppedBy"]
    return ended and not document["refused"] and not document["unreadable"]


def republish(document: Json) -> None:
    """Print how far a republish is."""
    if document["state"] == "none":
        console().print("there was none: catalogctl republish --start")
        return
    state = f"{document['state']}, {document['checked']:,} of {document['total']:,} products"
    end = document["finishedAt"]
    rows: list[tuple[str, Cell]] = [
        ("republish", styled(state, "green" if is_whole(document) else "yellow")),
        ("since", f"{when(document['startedAt'])}, by {plain(document['startedBy'])}"),
        *([("until", when(end))] if end else []),
        ("published", f"{document['published']:,}, {document['maxRate']:g} per second at most"),
    ]
    rows += [
        (name, styled(f"{document[name]:,}", "red"))
        for name in ("refused", "unreadable")
        if document[name]
    ]
    if document["stoppedBy"]:
        rows.append(("stopped by", styled(document["stoppedBy"])))
    if document["held"]:
        rows.append(("waits", styled(document["held"], "yellow")))
    pairs(rows)


def restore_progress(document: Json) -> str:
    """Say in a sentence how far a restore is."""
    left = document["eventsLeft"]
    texts = {
        "none": "there was none: catalogctl restore --start",
        "replaying": f"replaying: {document['events']:,} events read, "
        f"{'?' if left is None else f'{left:,}'} messages left",
        "lifting": f"lifted {document['lifted']:,} of {document['total']:,} products",
        "lifted": f"lifted all {document['lifted']:,} products",
        "auditing": "audited: catalogctl audit",
        "done": f"done: {document['statement']}",
    }
    return texts[document["state"]]


def restore(document: Json) -> None:
    """Print a restore and what it has found."""
    done, unreadable = "green" if document["proved"] else "", document["unreadableEvents"]
    rows: list[tuple[str, Cell]] = [("restore", styled(restore_progress(document), done))]
    if document["state"] != "none":
        rows += [
            ("begun", styled(f"{when(document['startedAt'])} by {document['startedBy']}")),
            ("oldest event", when(document["firstEventAt"]) if document["firstEventAt"] else NONE),
            ("newer in stream", f"{document['replayed']:,} products"),
            ("unanswered", f"{document['unanswered']:,}" if document["asks"] else "not asked"),
            (
                "lost here",
                f"{document['lost']:,} products of which a change is lost here",
            ),
            (
                "unreadable",
                f"{document['unreadableCount']:,} products, {unreadable:,} events",
            ),
        ]
    if document["held"]:
        rows.append(("waits", styled(document["held"], "yellow")))
    if document["onlySupplyChain"] is not None:
        rows.append(("only there", f"{len(document['onlySupplyChain']):,} products"))
    pairs(rows)
    lost, clashes = document["losses"], document["skus"]
    strays, closed = document["strays"], [{"id": name} for name in document["unreadable"]]
    only = [{"id": name} for name in document["onlySupplyChain"] or ()]
    _list(("LOST HERE", "RESTORED", "HELD"), lost, ("id", "restored", "held"), document["lost"])
    _list(("WITHOUT SKU", "SKU", "HAS IT"), clashes, ("id", "sku", "holder"), document["skuCount"])
    _list(("ONLY A DEAD LETTER", "VERSION"), strays, ("id", "version"), document["strayCount"])
    _list(("UNREADABLE",), closed, ("id",), document["unreadableCount"])
    _list(("ONLY THE SUPPLY CHAIN",), only, ("id",), len(only))


def _list(heads: Sequence[str], items: Sequence[Json], names: Sequence[str], count: int) -> None:
    """Print a table, if there is anything in it; `count`: how many rows there would be in all."""
    if items:
        console().print()
        rows = (
            [NONE if it[name] is None else styled(str(it[name])) for name in names] for it in items
        )
        table(heads, rows, "")
        if count > len(items):
            console().print(f"the first {len(items):,} of {count:,}; reconcile has logged all")


def event(document: Json) -> None:
    """Print an event in a line."""
    data = document.get("data") or {}
    moment = at(document.get("time"))
    kind = str(document.get("type", "")).removeprefix("product:")
    text = styled(times.clock(moment, now()) if moment else NONE)
    text.append(f"  {plain(kind):14}", _event_style(kind))
    text.append(f"  {plain(document.get('subject', '')):24}  v{plain(data.get('version', '?'))}")
    text.append(f"  {plain(data.get('name', ''))}", "dim")
    console().print(text, no_wrap=True, overflow="ellipsis", crop=True)
    sys.stdout.flush()


def _event_style(kind: str) -> str:
    if kind in {"sync-exhausted", "sync-rejected"}:
        return "bold red"
    return "green" if kind.startswith("sync-") else "cyan"
