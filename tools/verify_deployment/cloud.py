"""The steps that ask AWS itself: releases, alarms and who hears them, the gateway, poison."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ParamSpec
from urllib.parse import urlsplit

import yaml
from botocore.exceptions import BotoCoreError, ClientError

from tools import rollback
from tools.deployment import RELEASED, STAGE, Names
from tools.prometheus_rules import ALARMS
from tools.verify_deployment.steps import FailedError, Json, NotCheckedError, Patience, Step
from tools.verify_deployment.web import Web

REFUSED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"}
TEST = "verify-deployment: a test of this alarm's wiring, nothing is wrong"
_P = ParamSpec("_P")


def asks_aws(step: Callable[_P, str]) -> Callable[_P, str]:
    """Turn errors of AWS into those of a step."""

    @functools.wraps(step)
    def asking(*args: _P.args, **kwargs: _P.kwargs) -> str:
        try:
            return step(*args, **kwargs)
        except ClientError as error:
            if error.response["Error"]["Code"] in REFUSED:
                raise NotCheckedError(f"these credentials may not: {error}") from error
            raise FailedError(str(error)) from error
        except BotoCoreError as error:
            raise FailedError(str(error)) from error

    return asking


@dataclass(frozen=True)
class Account:
    """Where the deployment is, and what may be done there."""

    client: Callable[[str], Any]
    """Of a service, by its name."""
    names: Names
    region: str
    may_raise_an_alarm: bool = False


class Cloud:
    """What Terraform has made, as far as a request to the API does not show it."""

    def __init__(self, account: Account, web: Web, patience: Patience, mark: str) -> None:
        self._client, self._names, self._account = account.client, account.names, account
        self._web, self._patience, self._mark = web, patience, mark

    @property
    def steps(self) -> list[Step]:
        """Give the steps in order."""
        return [
            Step("release", self.release),
            Step("alarms", self.alarms),
            Step("topics", self.topics),
            Step("page", self.page),
            Step("throttle", self.throttle),
            Step("default address", self.default_address),
        ]

    # ---- what runs ----

    @asks_aws
    def release(self) -> str:
        """All functions are of one release."""
        client = self._client("lambda")
        functions = [rollback.look(client, self._names, role) for role in RELEASED]
        live = {function.role: function.release for function in functions}
        if len(set(live.values())) > 1:
            raise FailedError(", ".join(f"{role} is of {name}" for role, name in live.items()))
        if split := [function.role for function in functions if function.canary]:
            raise FailedError(f"a release is under way: two versions of {', '.join(split)} run")
        return f"all functions run release {functions[0].release or 'without a name'}"

    # ---- alarms ----

    @asks_aws
    def alarms(self) -> str:
        """Every alarm is there, as what it must be, and does something."""
        defined = yaml.safe_load(ALARMS.read_text())
        found = self._alarms()
        if faults := alarm_faults(defined, found, self._names):
            raise FailedError("; ".join(faults))
        raised = [
            n for n, it in found.items() if it["StateValue"] == "ALARM" and it["AlarmActions"]
        ]
        now = f"; raised now: {', '.join(raised)}" if raised else ""
        return f"{len(defined)} alarms, those that tell somebody have actions{now}"

    @asks_aws
    def topics(self) -> str:
        """Somebody hears the alarms."""
        topics = sorted({topic for it in self._alarms().values() for topic in topics_of(it)})
        if not topics:
            raise FailedError("no alarm sends to an SNS topic: set the topics of pages and tickets")
        heard = {topic: self._subscriptions(topic) for topic in topics}
        if faults := [fault for topic, found in heard.items() for fault in deaf(topic, found)]:
            raise FailedError("; ".join(faults))
        return ", ".join(
            f"{_short(topic)}: {len(found)} confirmed" for topic, found in heard.items()
        )

    @asks_aws
    def page(self) -> str:
        """An alarm that is raised runs its actions."""
        if not self._account.may_raise_an_alarm:
            raise NotCheckedError("needs --test-alarms, which raises one page: tell who is on call")
        name = page_alarm(yaml.safe_load(ALARMS.read_text()), self._alarms(), self._names)
        client, began = self._client("cloudwatch"), datetime.now(UTC).replace(microsecond=0)
        client.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason=TEST)
        try:
            done = self._patience.at_most(60).until(
                lambda: self._action(name, began), lambda: f"{name} is raised, but did nothing"
            )
        finally:
            client.set_alarm_state(AlarmName=name, StateValue="OK", StateReason=TEST)
        if "success" not in done.lower():
            raise FailedError(f"{name} is raised, but: {done}")
        return f"{name} was raised and ended again. {done}: ask who is on call whether it came"

    def _action(self, name: str, since: datetime) -> str | None:
        history = self._client("cloudwatch").describe_alarm_history(
            AlarmName=name, HistoryItemType="Action", StartDate=since
        )
        items = history["AlarmHistoryItems"]
        return str(items[0]["HistorySummary"]) if items else None

    def _alarms(self) -> dict[str, Json]:
        pages = self._client("cloudwatch").get_paginator("describe_alarms")
        both = ["MetricAlarm", "CompositeAlarm"]
        prefix = f"{self._names.all}-"
        found: dict[str, Json] = {}
        for page in pages.paginate(AlarmNamePrefix=prefix, AlarmTypes=both):
            for kind in ("MetricAlarms", "CompositeAlarms"):
                found |= {it["AlarmName"]: {**it, "Kind": kind} for it in page.get(kind, [])}
        return found

    def _subscriptions(self, topic: str) -> list[str]:
        pages = self._client("sns").get_paginator("list_subscriptions_by_topic")
        found = [it for page in pages.paginate(TopicArn=topic) for it in page["Subscriptions"]]
        # "PendingConfirmation" or "Deleted" stand in the place of an ARN.
        return [it["Protocol"] for it in found if it["SubscriptionArn"].startswith("arn:")]

    # ---- the gateway ----

    @asks_aws
    def throttle(self) -> str:
        """Nobody may ask without limit."""
        stage = self._client("apigateway").get_stage(restApiId=self._api()["id"], stageName=STAGE)
        found = stage.get("methodSettings", {}).get("*/*", {})
        rate, burst = found.get("throttlingRateLimit", 0), found.get("throttlingBurstLimit", 0)
        # AWS answers -1 where there is none.
        if rate <= 0 or burst <= 0:
            raise FailedError(f"the stage {STAGE} has no throttle: rate {rate}, burst {burst}")
        return f"{rate:g} requests per second, burst {burst}"

    @asks_aws
    def default_address(self) -> str:
        """With a domain of its own, there is no way around it."""
        if "execute-api" in self._web.base:
            return "it is the address that was tested: there is no custom domain"
        api = self._api()
        default = f"https://{api['id']}.execute-api.{self._account.region}.amazonaws.com/{STAGE}"
        if not api.get("disableExecuteApiEndpoint"):
            raise FailedError(f"{default} is open, a way around {urlsplit(self._web.base).netloc}")
        # It takes effect with a deployment of the stage only.
        if Web(default, None).ask("GET", "/health").status == 200:
            raise FailedError(f"{default} still answers: deploy the stage once more")
        return f"{default} is closed"

    def _api(self) -> Json:
        pages = self._client("apigateway").get_paginator("get_rest_apis").paginate()
        for page in pages:
            for api in page["items"]:
                if api["name"] == self._names.all:
                    return dict(api)
        raise FailedError(f"there is no REST API named {self._names.all} in this region")

    # ---- poison ----

    @asks_aws
    def poison(self) -> str:
        """A message that is none of ours becomes a dead letter, is quarantined, and is shown."""
        sqs = self._client("sqs")
        queue = sqs.get_queue_url(QueueName=self._names.queue)["QueueUrl"]
        sqs.send_message(QueueUrl=queue, MessageBody=f"{self._mark}: a test, none of the catalog's")
        letter = self._patience.until(self._shown, lambda: "the API shows no such dead letter")
        self._discard(letter)
        return (
            f"a message of nobody became a dead letter ({letter['reason']}), which is discarded "
            "again"
        )

    def _shown(self) -> Json | None:
        page = self._web.expect(200, "GET", "/sync/dead-letters").json
        return next((it for it in page["poison"] if self._mark in it["body"]), None)

    def _discard(self, letter: Json) -> None:
        """Discard this letter, and no other."""
        body = {"messageIds": [letter["messageId"]], "why": f"{self._mark}: a test"}
        self._web.expect(202, "POST", "/sync/dead-letters/discard", body)


# ---- decisions ----


def is_composite(alarm: Mapping[str, Any]) -> bool:
    """Say whether alarms.tf makes a composite alarm of it."""
    return len(alarm.get("windows", ())) > 1 or bool(alarm.get("unless"))


def topics_of(alarm: Json | None) -> list[str]:
    """Give the SNS topics that an alarm sends to; none if there is no alarm."""
    return [action for action in (alarm or {}).get("AlarmActions", []) if ":sns:" in action]


def alarm_faults(
    defined: Mapping[str, Mapping[str, Any]], found: Mapping[str, Json], names: Names
) -> list[str]:
    """Say what is wrong with the alarms, of each kind in a sentence."""
    there = {key: found[names.alarm(key)] for key in defined if names.alarm(key) in found}
    kinds = {True: "CompositeAlarms", False: "MetricAlarms"}
    other = [key for key, it in there.items() if it["Kind"] != kinds[is_composite(defined[key])]]
    tells = [key for key in there if defined[key]["severity"] != "none"]
    # An emulator may leave this out.
    off = [key for key in there if there[key].get("ActionsEnabled", True) is False]
    groups = {
        "not there": [key for key in defined if key not in there],
        "metric alarm in place of a composite one, or the other way": other,
        "without an action, so that nobody is told": [k for k in tells if not topics_of(there[k])],
        "with its actions switched off": off,
    }
    return [f"{what}: {', '.join(keys)}" for what, keys in groups.items() if keys]


def deaf(topic: str, subscriptions: Iterable[str]) -> list[str]:
    """Say that nobody hears a topic, if that is so."""
    if any(subscriptions):
        return []
    return [f"{_short(topic)} has no confirmed subscription: nobody hears it"]


def page_alarm(
    defined: Mapping[str, Mapping[str, Any]], found: Mapping[str, Json], names: Names
) -> str:
    """Give a page to test: a composite alarm would stay raised until one of its parts changes."""
    for key, alarm in defined.items():
        name = names.alarm(key)
        if alarm["severity"] == "page" and not is_composite(alarm) and topics_of(found.get(name)):
            return name
    raise FailedError("there is no alarm that pages somebody")


def _short(topic: str) -> str:
    return topic.rpartition(":")[2]
