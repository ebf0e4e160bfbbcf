"""The commands: each asks the API once or twice, and prints the answer."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from catalogctl import discarding, exporting, importing, output, restoring, times, tokens
from catalogctl import events as stream
from catalogctl.client import Api, product_path
from catalogctl.connection import Connection
from catalogctl.errors import CommandError, UsageError
from chalicelib.domain.events import EventType
from chalicelib.domain.exact_json import Json
from chalicelib.domain.times import rfc3339

CODES = """Exit codes:

0  done
1  done, but the state is not the one that was asked for
2  wrong usage, a wrong setting, or a file that cannot be used
3  the API refuses it (4xx), or NATS does
4  the API cannot be reached or fails (5xx), or NATS cannot be reached
130  interrupted"""
LOOK_SECONDS = 1.0
"""How often a running audit, republish or restore is looked at."""
Redriven = Literal["exhausted", "rejected", "retrying", "pending"]
Format = Literal["ndjson", "csv"]


class Undelivered(StrEnum):
    """The statuses of products that are behind."""

    PENDING = "pending"
    RETRYING = "retrying"
    EXHAUSTED = "exhausted"
    REJECTED = "rejected"


class Commands(TyperGroup):
    """Turns errors into one text and an exit code: a traceback is a bug of ours."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # noqa: ANN401
        """Run the command."""
        try:
            return super().invoke(ctx)
        except CommandError as error:
            output.error(str(error))
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt:
            output.say("interrupted")
            raise


app = typer.Typer(
    cls=Commands,
    help=f"Operate the product catalog, and load it.\n\n{CODES}",
    epilog="Where the catalog is: CATALOG_API and CATALOG_TOKEN, else .run/stack.json of make up, "
    "here or in a folder above. For NATS: NATS_URL and NATS_CREDENTIALS.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


# ---- options that several commands have ----


def _parsed_by(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Make a parser of an option whose error is a usage error with its own text."""

    def read(text: str) -> Any:  # noqa: ANN401 - what the parser gives
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return read


def _past(text: str) -> datetime:
    return times.past(text, output.now())


def _coming(text: str) -> datetime:
    return times.coming(text, output.now())


def _time(text: str, parse: Callable[[str], datetime] = _past) -> Any:  # noqa: ANN401 - typer's own
    return typer.Option(parser=_parsed_by(parse), metavar="TIME", help=text)


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
ProductId = Annotated[str, typer.Argument(metavar="ID", help="The product's id.")]
Reason = Annotated[
    str | None, typer.Option(help="Why; it is kept with the act, and shown with it.")
]
Limit = Annotated[int, typer.Option(min=1, help="How many to show, at most.")]
ErrorKind = Annotated[
    str | None,
    typer.Option("--error", metavar="KIND", help="http-503 and such, timeout, connection, worker."),
]


@app.callback()
def connect(
    ctx: typer.Context,
    api: Annotated[
        str | None, typer.Option(metavar="URL", help="The API, with /api; else CATALOG_API.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(help="Its token; better CATALOG_TOKEN, since others see a command's options."),
    ] = None,
) -> None:
    """Remember where the catalog is."""
    ctx.obj = Connection(api, token)


def _connection(ctx: typer.Context) -> Connection:
    found: Connection = ctx.obj
    return found


def _api(ctx: typer.Context) -> Api:
    return _connection(ctx).api()


# ---- looking ----


@app.command()
def status(
    ctx: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="End with 1 unless every product is delivered.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show how much is delivered, waits or is stuck, and when all will be delivered."""
    found = _api(ctx).get("/sync")
    output.show(found, output.summary, as_json=as_json)
    if check and not output.is_converged(found):
        raise CommandError("not every product is delivered, or deliveries are held")


@app.command()
def behind(
    ctx: typer.Context,
    status: Annotated[
        list[Undelivered] | None,
        typer.Option(
            "--status", metavar="STATUS", help=f"{', '.join(Undelivered)}; may be repeated."
        ),
    ] = None,
    since: Annotated[datetime | None, _time("Behind since then, or longer.")] = None,
    error: ErrorKind = None,
    text: Annotated[str | None, typer.Option(help="Text in the last error.")] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List the products that the supply chain lacks, oldest change first."""
    query = {"status": status or None, "behindSince": since, "errorKind": error, "q": text}
    found = _api(ctx).items("/sync/products", limit, **query)
    output.show(found, output.behind, as_json=as_json)


@app.command()
def show(ctx: typer.Context, product_id: ProductId, as_json: AsJson = False) -> None:
    """Show a product, its delivery, and every attempt."""
    api = _api(ctx)
    sync = api.get(product_path(product_id, "/sync"))
    product = None if sync["deleted"] else api.get(product_path(product_id))
    output.show({"product": product, "sync": sync}, output.product, as_json=as_json)


@app.command()
def why(ctx: typer.Context, product_id: ProductId, as_json: AsJson = False) -> None:
    """Tell why a product is not delivered, in order of time, and what comes next."""
    found = _api(ctx).get(product_path(product_id, "/sync/timeline"))
    output.show(found, output.timeline, as_json=as_json)


@app.command("dead-letters")
def dead_letters(ctx: typer.Context, limit: Limit = 20, as_json: AsJson = False) -> None:
    """List the products that only an operator can help, and messages that nobody can read."""
    found = _api(ctx).items("/sync/dead-letters", limit)
    output.show(found, output.dead_letters, as_json=as_json)


@app.command()
def acts(ctx: typer.Context, limit: Limit = 20, as_json: AsJson = False) -> None:
    """List what operators did: who, when and why, newest first."""
    output.show(_api(ctx).items("/sync/acts", limit), output.acts, as_json=as_json)


# ---- acting ----


@app.command()
def replay(
    ctx: typer.Context, product_id: ProductId, reason: Reason = None, as_json: AsJson = False
) -> None:
    """Deliver a product again, with a fresh budget of attempts."""
    found = _api(ctx).post(product_path(product_id, "/sync"), {"reason": reason})
    text = f"it is tried again; how that goes: catalogctl why {product_id}"
    output.show(found, lambda _: typer.echo(text), as_json=as_json)


@app.command()
def redrive(
    ctx: typer.Context,
    status: Annotated[
        Redriven | None,
        typer.Option(
            "--status", metavar="STATUS", help="exhausted, rejected or retrying; else both first."
        ),
    ] = None,
    since: Annotated[datetime | None, _time("Failed then or later; retrying: changed.")] = None,
    until: Annotated[datetime | None, _time("Failed then or before; retrying: changed.")] = None,
    error: ErrorKind = None,
    reason: Reason = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Deliver many products again, each with a fresh budget of attempts. Asks first."""
    wanted = {"status": status, "since": since, "until": until, "errorKind": error}
    api = _api(ctx)
    if dry_run or not yes:
        found = api.post("/sync/redrive", {**wanted, "dryRun": True})
        if dry_run or not found["count"]:
            output.show(found, _would_redrive, as_json=as_json)
            return
        _confirm(f"redrive {_products(found)}?")
    found = api.post("/sync/redrive", {**wanted, "reason": reason})
    output.show(found, _is_redriving, as_json=as_json)


def _products(found: Json) -> str:
    return f"{found['count']:,} product{'' if found['count'] == 1 else 's'}"


def _would_redrive(found: Json) -> None:
    typer.echo(f"{_products(found)} would be redriven")


def _is_redriving(found: Json) -> None:
    typer.echo(f"{_products(found)} will be redriven; catalogctl status shows how far it is")


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here: give --yes, or --dry-run to count")
    if not typer.confirm(question, err=True):
        raise CommandError("nothing was done")


@app.command()
def pause(
    ctx: typer.Context,
    reason: Reason = None,
    until: Annotated[
        datetime | None, _time("When it resumes by itself; else when somebody resumes.", _coming)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make no calls to the supply chain, for example during its maintenance."""
    body = {"paused": True, "reason": reason, "until": until}
    output.show(_api(ctx).put("/sync/control", body), output.control, as_json=as_json)


@app.command()
def resume(ctx: typer.Context, reason: Reason = None, as_json: AsJson = False) -> None:
    """Make calls again; what has waited is brought forward, oldest change first."""
    found = _api(ctx).put("/sync/control", {"paused": False, "reason": reason})
    output.show(found, output.control, as_json=as_json)


@app.command()
def audit(
    ctx: typer.Context,
    start: Annotated[bool, typer.Option("--start", help="Begin one, unless one runs.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End the one that runs.")] = False,
    reason: Reason = None,
    repair: Annotated[
        bool | None,
        typer.Option("--repair/--no-repair", help="Deliver again what differs, or only count it."),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Wait for its end; end with 1 unless all is the same."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare every product with what the supply chain holds. Without --start: the last audit."""
    if not start and (reason or repair is not None):
        raise UsageError("--reason, --repair and --no-repair belong to --start")
    if stop and (start or wait):
        raise UsageError("--stop goes with neither --start nor --wait")
    api = _api(ctx)
    if stop:
        found = api.delete("/sync/audit")
    else:
        found = _audit(api, reason, repair) if start else api.get("/sync/audit")
    if wait:
        found = _finished(api, "/sync/audit", found)
    output.show(found, output.audit, as_json=as_json)
    if wait and not output.is_proof(found):
        raise CommandError("the supply chain does not hold the newest version of every product")


def _audit(api: Api, reason: str | None, repair: bool | None) -> Json:
    return api.post("/sync/audit", {"reason": reason, "repair": repair})


def _finished(api: Api, path: str, found: Json) -> Json:
    while found["state"] == "running":
        if sys.stderr.isatty():
            output.say(f"checked {found['checked']:,} of {found['total']:,}")
        time.sleep(LOOK_SECONDS)
        found = api.get(path)
    return found


@app.command()
def republish(
    ctx: typer.Context,
    start: Annotated[bool, typer.Option("--start", help="Begin one, unless one runs.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End the one that runs.")] = False,
    reason: Reason = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.01, help="Events per second; else as REPUBLISH_MAX_RATE says."),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Wait for its end; end with 1 unless all are published."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Publish every product as an event, for listeners that lack it. Without --start: the last."""
    if not start and (reason or rate is not None):
        raise UsageError("--reason and --rate belong to --start")
    if stop and (start or wait):
        raise UsageError("--stop goes with neither --start nor --wait")
    api, path = _api(ctx), "/sync/republish"
    if stop:
        found = api.delete(path)
    else:
        found = api.post(path, {"reason": reason, "maxRate": rate}) if start else api.get(path)
    if wait:
        found = _finished(api, path, found)
    output.show(found, output.republish, as_json=as_json)
    if wait and not output.is_whole(found):
        raise CommandError("the stream does not have an event of every product")


@app.command()
def discard(
    ctx: typer.Context,
    poison: Annotated[
        bool, typer.Option("--poison", help="What is about no product: nothing else can be.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option(help="Only with this text in the reason that the message has.")
    ] = None,
    since: Annotated[datetime | None, _time("Quarantined then or later.")] = None,
    export_to: Annotated[
        Path | None,
        typer.Option("--export", metavar="FILE", help="Where to; else poison-TIME.ndjson."),
    ] = None,
    why: Annotated[str | None, typer.Option(help="Why; it is kept with the act.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Discard messages of the quarantine, after they are written to a file. Asks first."""
    if not poison:
        raise UsageError("give --poison: nothing but what is about no product can be discarded")
    api = _api(ctx)
    wanted: Json = {"reason": reason, "since": since}
    found, begun = discarding.count(api, wanted), time.monotonic()
    if dry_run or not found["count"]:
        output.show(found, _would_discard, as_json=as_json)
        return
    wanted["until"] = found["until"]
    file = export_to or Path(f"poison-{re.sub('[-:.]', '', found['until'])}.ndjson")
    if not yes:
        _confirm(f"write {_messages(found)} to {file}, and discard them?")
    exported = discarding.export(file, api, wanted)
    done = {"count": discarding.discard(api, wanted, exported, why, begun), "exported": str(file)}
    text = f"{_messages(done)} discarded; {file} has them"
    output.show(done, lambda _: typer.echo(text), as_json=as_json)


def _messages(found: Json) -> str:
    return f"{found['count']:,} message{'' if found['count'] == 1 else 's'}"


def _would_discard(found: Json) -> None:
    typer.echo(f"{_messages(found)} would be discarded")


@app.command()
def restore(
    ctx: typer.Context,
    start: Annotated[
        bool, typer.Option("--start", help="Begin, from the beginning; needs CATALOG_MODE=restore.")
    ] = False,
    ask: Annotated[
        bool,
        typer.Option(
            "--ask/--no-ask", help="Ask the supply chain what store and stream do not know."
        ),
    ] = True,
    reason: Reason = None,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Until writes may be accepted; then until all is proved."),
    ] = False,
    supply_chain_ids: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Ids that the supply chain has, one on each line."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a MongoDB that was restored to an earlier time whole: docs/disaster.md."""
    if not start and (reason or not ask):
        raise UsageError("--reason and --no-ask belong to --start")
    ids = restoring.read_ids(supply_chain_ids) if supply_chain_ids else None
    api = _api(ctx)
    body = {"reason": reason, "ask": ask}
    found = api.post("/sync/restore", body) if start else api.get("/sync/restore")
    if wait:
        found = _restored(api, found)
    listed = None if ids is None else restoring.only_there(api, ids)
    output.show({**found, "onlySupplyChain": listed}, output.restore, as_json=as_json)
    if wait and not restoring.is_at_its_end(found):
        raise CommandError(found["held"] or "the restore is not at its end: see above")


def _restored(api: Api, found: Json) -> Json:
    while restoring.goes_on(found):
        if sys.stderr.isatty():
            output.say(output.restore_progress(found))
        time.sleep(LOOK_SECONDS)
        found = api.get("/sync/restore")
    return found


# ---- products in and out ----


@app.command("import", epilog=f"Columns of a CSV file: {importing.COLUMNS}")
def import_products(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="NDJSON, or CSV with a header.")],
    fmt: Annotated[
        Format | None, typer.Option("--format", help="Default: by the name of FILE.")
    ] = None,
    made_up_prices: Annotated[
        bool,
        typer.Option(
            "--made-up-prices", help="Where price or quantity is missing, make one of the line."
        ),
    ] = False,
    patience: Annotated[float, typer.Option(help="Seconds to retry a request.")] = 120.0,
    workers: Annotated[
        int,
        typer.Option(min=1, help="Requests in flight; with more, other consumers wait longer."),
    ] = importing.WORKERS,
    as_json: AsJson = False,
) -> None:
    """Load products of a file. Run it again after an interruption: nothing is created twice."""
    progress = importing.Progress(file)
    report = importing.import_file(
        file,
        *_connection(ctx).address_and_token(),
        fmt=fmt,
        made_up_prices=made_up_prices,
        patience=patience,
        workers=workers,
        on_refusal=progress.refuse,
        on_progress=progress.show,
        on_wait=progress.say,
    )
    found = report.to_json(progress.refusals)
    output.show(found, lambda _: typer.echo(report), as_json=as_json)
    if report.refused:
        raise CommandError(f"{report.refused} lines were refused")


@app.command()
def export(
    ctx: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(help="Goes on after its last line. Without: print them.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write all products as NDJSON, one per line, with exact prices."""
    api = _api(ctx)
    if file is None:
        for products in exporting.pages_after(api, None):
            typer.echo(exporting.lines(products).decode(), nl=False)
        return
    count, after = exporting.export_to(file, api)
    found = {"file": str(file), "exported": count, "after": after}
    text = f"{file}: {_products({'count': count})}{f' after {after}' if after else ''}"
    output.show(found, lambda _: typer.echo(text), as_json=as_json)


@app.command()
def events(
    ctx: typer.Context,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="All that the stream has: of 14 days.")
    ] = False,
    since: Annotated[datetime | None, _time("Stored then or later.")] = None,
    types: Annotated[
        list[EventType] | None,
        typer.Option("--type", metavar="TYPE", help="Such as product:created; may be repeated."),
    ] = None,
    product_id: Annotated[str | None, typer.Option("--id", help="Of this product.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for events to come.")
    ] = True,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
    as_json: AsJson = False,
) -> None:
    """Listen to the events of the stream: new ones, unless told otherwise."""
    if from_beginning and since:
        raise UsageError("--from-beginning and --since exclude each other")
    everything = from_beginning or not (follow or since)
    kinds = frozenset(kind.value for kind in types or ())
    wanted = stream.Wanted(kinds, product_id, since, everything, follow, limit)
    stream.listen(_connection(ctx).nats(), wanted, output.line if as_json else output.event)


@app.command()
def token(
    ctx: typer.Context,
    scope: Annotated[
        list[tokens.Scope],
        typer.Option(
            "--scope", metavar="SCOPE", help=f"{', '.join(tokens.Scope)}; may be repeated."
        ),
    ],
    ttl: Annotated[
        timedelta | None,
        typer.Option(
            parser=_parsed_by(times.duration), metavar="SPAN", help="30m, 2h, 30d; else 1h."
        ),
    ] = None,
    subject: Annotated[
        str, typer.Option(help="Who it is for: the acts of an operator name it.")
    ] = "operator",
    as_json: AsJson = False,
) -> None:
    """Sign a token with CATALOG_JWT_SECRET, else with the secret of the embedded stack.

    It names CATALOG_JWT_ISSUER and CATALOG_JWT_AUDIENCE, where they are set.
    """
    until, connection = output.now() + (ttl or timedelta(hours=1)), _connection(ctx)
    named = connection.issuer_and_audience()
    signed = tokens.sign(connection.secret(), scope, subject, until, *named)
    found = {"token": signed, "scope": " ".join(scope), "sub": subject, "exp": rfc3339(until)}
    output.show(found, lambda _: typer.echo(signed), as_json=as_json)
