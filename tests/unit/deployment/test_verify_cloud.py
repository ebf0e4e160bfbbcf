"""What is asked of AWS: each fault in a clear sentence. The clients are stubs: moto lacks much."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from unittest.mock import MagicMock

import pytest
import yaml
from botocore.exceptions import ClientError, EndpointConnectionError

from tests.unit.deployment.told import Told, answer, patience
from tools import rollback
from tools.deployment import RELEASED, Names
from tools.prometheus_rules import ALARMS
from tools.verify_deployment import cloud
from tools.verify_deployment.cloud import Account, Cloud, is_composite, page_alarm
from tools.verify_deployment.steps import FailedError, Json, NotCheckedError
from tools.verify_deployment.web import Web

NAMES = Names("-test")
PAGES = "arn:aws:sns:eu-central-1:123456789012:pages"
DEFINED: Mapping[str, Mapping[str, Any]] = yaml.safe_load(ALARMS.read_text())


class Aws:
    """The clients by service; what they answer is set by the test."""

    def __init__(self) -> None:
        self.clients = {name: MagicMock() for name in ("lambda", "cloudwatch", "sns", "sqs")}
        self.clients["apigateway"] = MagicMock()
        self.alarms = {NAMES.alarm(key): alarm(key) for key in DEFINED}
        self.subscriptions = [{"Protocol": "email", "SubscriptionArn": f"{PAGES}:1"}]
        self.apis = [{"name": "another", "id": "no"}, {"name": "product-catalog-test", "id": "it"}]
        self.settings: Json = {"*/*": {"throttlingRateLimit": 100.0, "throttlingBurstLimit": 200}}
        self.history: list[Json] = [{"HistorySummary": "Successfully executed action pages"}]
        self._answer()

    def client(self, name: str) -> Any:  # noqa: ANN401 - as boto3's
        return self.clients[name]

    def _answer(self) -> None:
        watch, gateway = self.clients["cloudwatch"], self.clients["apigateway"]
        watch.get_paginator().paginate.side_effect = lambda **_: [
            {kind: [it for it in self.alarms.values() if it["Kind"] == kind]}
            for kind in ("MetricAlarms", "CompositeAlarms")
        ]
        watch.describe_alarm_history.side_effect = lambda **_: {"AlarmHistoryItems": self.history}
        self.clients["sns"].get_paginator().paginate.side_effect = lambda **_: [
            {"Subscriptions": self.subscriptions}
        ]
        gateway.get_paginator().paginate.side_effect = lambda **_: [{"items": self.apis}]
        gateway.get_stage.side_effect = lambda **_: {"methodSettings": self.settings}
        self.clients["sqs"].get_queue_url.side_effect = lambda **it: {"QueueUrl": it["QueueName"]}


def alarm(key: str) -> Json:
    """An alarm as CloudWatch describes it."""
    return {
        "AlarmName": NAMES.alarm(key),
        "Kind": "CompositeAlarms" if is_composite(DEFINED[key]) else "MetricAlarms",
        "AlarmActions": [] if DEFINED[key]["severity"] == "none" else [PAGES],
        "ActionsEnabled": True,
        "StateValue": "OK",
    }


@pytest.fixture
def aws() -> Aws:
    """An account where all is well."""
    return Aws()


@pytest.fixture
def looking(aws: Aws) -> Cloud:
    """Who looks at it, and may do everything."""
    account = Account(aws.client, NAMES, "eu-central-1", may_raise_an_alarm=True)
    return Cloud(account, Told(), patience(), "mark")


def failure(step: Callable[[], str]) -> str:
    with pytest.raises(FailedError) as failed:
        step()
    return str(failed.value)


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "DescribeAlarms")


# ---- what runs ----


def releases(aws: Aws, **live: str) -> None:
    """Let the functions run these versions of two releases."""

    def alias(FunctionName: str, **_: object) -> Json:  # noqa: N803 - boto3's
        role = FunctionName.rpartition("-")[2]
        return {"FunctionVersion": live.get(role, "2"), "RevisionId": "r"}

    found = [
        {"Version": number, "Description": f"it; release {name}", "LastModified": "2026"}
        for number, name in (("1", "one"), ("2", "two"))
    ]
    aws.client("lambda").get_alias.side_effect = alias
    pages = aws.client("lambda").get_paginator()
    pages.paginate.side_effect = lambda **_: [{"Versions": found}]


def test_all_functions_are_of_one_release(aws: Aws, looking: Cloud) -> None:
    releases(aws)
    assert looking.release() == "all functions run release two"
    releases(aws, sync="1")
    assert "sync is of one" in failure(looking.release)


def test_a_canary_is_no_end_of_a_release(
    aws: Aws, looking: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    releases(aws)
    look = rollback.look
    monkeypatch.setattr(rollback, "look", lambda *a: replace(look(*a), canary=3))
    assert failure(looking.release).startswith(
        f"a release is under way: two versions of {RELEASED[0]}"
    )


# ---- alarms ----


def test_every_alarm_is_there_and_tells_somebody(aws: Aws, looking: Cloud) -> None:
    assert looking.alarms() == f"{len(DEFINED)} alarms, those that tell somebody have actions"
    aws.alarms[NAMES.alarm("mongodb-away")]["StateValue"] = "ALARM"
    assert looking.alarms().endswith("; raised now: product-catalog-test-mongodb-away")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (None, "not there: mongodb-away"),
        ({"AlarmActions": []}, "without an action, so that nobody is told: mongodb-away"),
        ({"AlarmActions": ["arn:aws:lambda:x"]}, "without an action"),
        ({"ActionsEnabled": False}, "with its actions switched off: mongodb-away"),
        ({"Kind": "CompositeAlarms"}, "metric alarm in place of a composite one, or the other way"),
    ],
)
def test_an_alarm_that_is_not_as_it_must_be_is_named(
    aws: Aws, looking: Cloud, changes: Json | None, fault: str
) -> None:
    name = NAMES.alarm("mongodb-away")
    if changes is None:
        del aws.alarms[name]
    else:
        aws.alarms[name] |= changes
    assert failure(looking.alarms).startswith(fault)


def test_somebody_hears_each_topic(aws: Aws, looking: Cloud) -> None:
    assert looking.topics() == "pages: 1 confirmed"
    aws.subscriptions[0]["SubscriptionArn"] = "PendingConfirmation"
    assert failure(looking.topics) == "pages has no confirmed subscription: nobody hears it"


def test_without_any_topic_it_says_what_to_set(aws: Aws, looking: Cloud) -> None:
    for it in aws.alarms.values():
        it["AlarmActions"] = []
    assert "set the topics of pages and tickets" in failure(looking.topics)


def test_a_page_is_raised_and_ended_again(aws: Aws, looking: Cloud) -> None:
    assert "Successfully executed action pages" in looking.page()
    states = [call.kwargs for call in aws.client("cloudwatch").set_alarm_state.call_args_list]
    assert [state["StateValue"] for state in states] == ["ALARM", "OK"]
    (name,) = {state["AlarmName"] for state in states}
    key = name.removeprefix("product-catalog-test-")
    assert DEFINED[key]["severity"] == "page"
    assert not is_composite(DEFINED[key])


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ([], "is raised, but did nothing"),
        ([{"HistorySummary": "Failed to execute action"}], "but: Failed to execute action"),
    ],
)
def test_a_page_that_tells_nobody_is_a_failure_and_is_ended_too(
    aws: Aws, looking: Cloud, history: list[Json], said: str
) -> None:
    aws.history = history
    assert said in failure(looking.page)
    last = aws.client("cloudwatch").set_alarm_state.call_args.kwargs
    assert last["StateValue"] == "OK"


def test_nobody_is_woken_unless_that_is_asked_for(aws: Aws) -> None:
    quiet = Cloud(Account(aws.client, NAMES, "eu-central-1"), Told(), patience(), "mark")
    with pytest.raises(NotCheckedError, match="--test-alarms"):
        quiet.page()
    aws.client("cloudwatch").set_alarm_state.assert_not_called()


def test_a_composite_alarm_is_not_raised_since_it_would_stay_so() -> None:
    defined: dict[str, dict[str, Any]] = {
        "both": {"severity": "page", "unless": ["one"]},
        "later": {"severity": "ticket"},
        "one": {"severity": "page"},
    }
    found = {NAMES.alarm(key): {"AlarmActions": [PAGES]} for key in defined}
    assert page_alarm(defined, found, NAMES) == NAMES.alarm("one")


def test_without_an_alarm_that_pages_it_says_so(aws: Aws, looking: Cloud) -> None:
    for it in aws.alarms.values():
        it["AlarmActions"] = []
    assert failure(looking.page) == "there is no alarm that pages somebody"
    aws.client("cloudwatch").set_alarm_state.assert_not_called()


# ---- the gateway ----


def test_the_throttle_is_that_of_the_stage(aws: Aws, looking: Cloud) -> None:
    assert looking.throttle() == "100 requests per second, burst 200"
    aws.settings = {"*/*": {"throttlingRateLimit": -1, "throttlingBurstLimit": -1}}
    assert failure(looking.throttle) == "the stage api has no throttle: rate -1, burst -1"
    aws.settings = {}
    assert "no throttle" in failure(looking.throttle)


def test_an_api_of_another_name_is_not_looked_at(aws: Aws, looking: Cloud) -> None:
    aws.apis.pop()
    assert "no REST API named product-catalog-test" in failure(looking.throttle)


def test_without_a_domain_the_default_address_is_the_one(aws: Aws) -> None:
    web = Web("https://it.execute-api.eu-central-1.amazonaws.com/api", None)
    account = Account(aws.client, NAMES, "eu-central-1")
    assert "no custom domain" in Cloud(account, web, patience(), "mark").default_address()


def test_beside_a_domain_the_default_address_must_be_closed(
    aws: Aws, looking: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = Told()
    monkeypatch.setattr(cloud, "Web", lambda *_: default)
    assert "is open, a way around it" in failure(looking.default_address)
    aws.apis[1]["disableExecuteApiEndpoint"] = True  # type: ignore[assignment]
    default.tell("GET /health", answer(200, {}))
    assert "still answers: deploy the stage once more" in failure(looking.default_address)
    default.tell("GET /health", answer(403, {}))
    closed = "https://it.execute-api.eu-central-1.amazonaws.com/api is closed"
    assert looking.default_address() == closed


# ---- poison ----


def shown(body: str) -> Json:
    letter = {"messageId": f"id of {body}", "body": body, "reason": "not JSON"}
    return {"items": [], "poison": [letter]}


def test_poison_is_shown_and_discarded_and_no_other(aws: Aws, looking: Cloud) -> None:
    told = looking._web
    assert isinstance(told, Told)
    told.tell("GET /sync/dead-letters", answer(200, shown("x")), answer(200, shown("mark: a test")))
    told.tell("POST /sync/dead-letters/discard", answer(202, {"count": 1}))
    end = "which is discarded again"
    assert looking.poison() == f"a message of nobody became a dead letter (not JSON), {end}"
    body = {"messageIds": ["id of mark: a test"], "why": "mark: a test"}
    assert told.asked[-1] == ("POST /sync/dead-letters/discard", body)
    assert aws.client("sqs").send_message.call_args.kwargs["QueueUrl"] == "product-sync-test"


def test_poison_that_is_not_shown_is_a_failure(looking: Cloud) -> None:
    told = looking._web
    assert isinstance(told, Told)
    told.tell("GET /sync/dead-letters", answer(200, shown("x")))
    assert "the API shows no such dead letter" in failure(looking.poison)


# ---- what AWS refuses ----


def test_what_the_credentials_may_not_is_not_checked(aws: Aws, looking: Cloud) -> None:
    aws.client("cloudwatch").get_paginator.side_effect = refusal("AccessDenied")
    with pytest.raises(NotCheckedError, match=r"these credentials may not: .*AccessDenied"):
        looking.alarms()


@pytest.mark.parametrize(
    "error", [refusal("Throttling"), EndpointConnectionError(endpoint_url="https://aws")]
)
def test_another_error_of_aws_is_a_failure(aws: Aws, looking: Cloud, error: Exception) -> None:
    aws.client("cloudwatch").get_paginator.side_effect = error
    assert str(error) == failure(looking.alarms)
