"""AWS list prices, us-east-1, without free tiers and discounts. Looked up in November 2026.

No account was at hand, so none is from a bill. `page` is AWS's page with the price; `seen` says
where the number was read: in AWS's documentation, in publications of 2022 to 2026 that quote the
page, or nowhere ("from memory"). Check them before you rely on them, and for any other region.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

LAMBDA = "aws.amazon.com/lambda/pricing"
API_GATEWAY = "aws.amazon.com/api-gateway/pricing"
SQS = "aws.amazon.com/sqs/pricing"
CLOUDWATCH = "aws.amazon.com/cloudwatch/pricing"
XRAY = "aws.amazon.com/xray/pricing"
SECRETS = "aws.amazon.com/secrets-manager/pricing"
EC2 = "aws.amazon.com/ec2/pricing/on-demand"
VPC = "aws.amazon.com/vpc/pricing"
FARGATE = "aws.amazon.com/fargate/pricing"
ELB = "aws.amazon.com/elasticloadbalancing/pricing"
AWS, QUOTED, MEMORY = "AWS's documentation", "quoted", "from memory"


@dataclass(frozen=True, slots=True)
class Price:
    """USD per unit. `tiers`: up to how many units a month, and at which price."""

    unit: str
    tiers: tuple[tuple[float, float], ...]
    page: str
    seen: str

    def of(self, units: float) -> float:
        """Give the USD of so many units in one month."""
        usd, below = 0.0, 0.0
        for upto, price in self.tiers:
            usd += price * max(0.0, min(units, upto) - below)
            below = upto
        return usd


def _flat(usd: float, unit: str, page: str, seen: str) -> Price:
    return Price(unit, ((inf, usd),), page, seen)


M = 1_000_000.0
TB = 1_000.0
"""GB."""

LAMBDA_REQUEST = _flat(0.20 / M, "request", LAMBDA, QUOTED)
LAMBDA_GB_SECOND = Price(
    "GB-second, arm64",
    ((7_500 * M, 0.0000133334), (18_750 * M, 0.0000120001), (inf, 0.0000106667)),
    LAMBDA,
    f"{QUOTED}; the last tier {MEMORY}",
)
REST_REQUEST = Price(
    "request, REST API",
    ((333 * M, 3.50 / M), (1_000 * M, 2.80 / M), (20_000 * M, 2.38 / M), (inf, 1.51 / M)),
    API_GATEWAY,
    AWS,
)
HTTP_REQUEST = Price(
    "request of up to 512 KB, HTTP API", ((300 * M, 1.00 / M), (inf, 0.90 / M)), API_GATEWAY, AWS
)
SQS_REQUEST = Price(
    "request, 64 KB of payload each",
    ((100_000 * M, 0.40 / M), (200_000 * M, 0.30 / M), (inf, 0.24 / M)),
    SQS,
    QUOTED,
)
LOGS_GB = Price(
    "GB of Lambda's logs",
    ((10 * TB, 0.50), (30 * TB, 0.25), (50 * TB, 0.10), (inf, 0.05)),
    CLOUDWATCH,
    QUOTED,
)
ACCESS_LOGS_GB = _flat(0.50, "GB of other logs", CLOUDWATCH, QUOTED)
LOGS_STORED_GB = _flat(
    0.03 * 0.15, "GB-month of logs, compressed to 15 %", CLOUDWATCH, f"{QUOTED}; the 15 % {MEMORY}"
)
METRIC = _flat(0.30, "own metric, a month", CLOUDWATCH, QUOTED)
ALARM = _flat(0.10, "metric of an alarm, a month", CLOUDWATCH, QUOTED)
COMPOSITE_ALARM = _flat(0.50, "composite alarm, a month", CLOUDWATCH, QUOTED)
DASHBOARD = _flat(3.00, "dashboard, a month", CLOUDWATCH, QUOTED)
TRACE = _flat(5.00 / M, "trace recorded", XRAY, AWS)
SECRET = _flat(0.40, "secret, a month", SECRETS, MEMORY)
SECRET_READ = _flat(0.05 / 10_000, "read of a secret", SECRETS, MEMORY)
INTERNET_GB = Price(
    "GB to the internet",
    ((10 * TB, 0.09), (50 * TB, 0.085), (150 * TB, 0.07), (inf, 0.05)),
    EC2,
    QUOTED,
)
REGION_GB = _flat(0.01, "GB to another zone, or a public address of the region", EC2, QUOTED)
NAT_HOUR = _flat(0.045, "NAT gateway, an hour", VPC, QUOTED)
NAT_GB = _flat(0.045, "GB through a NAT gateway", VPC, QUOTED)
FARGATE_VCPU_HOUR = _flat(0.03238, "vCPU-hour, arm64", FARGATE, QUOTED)
FARGATE_GB_HOUR = _flat(0.00356, "GB-hour, arm64", FARGATE, QUOTED)
BALANCER_HOUR = _flat(0.0225, "load balancer, an hour", ELB, MEMORY)
BALANCER_LCU_HOUR = _flat(0.008, "capacity unit of a load balancer, an hour", ELB, MEMORY)
