"""What is asked of Prometheus: the panels of the dashboard and the alerts, as data.

`RATE` stands for the window of a rate: Grafana's own in the dashboard, a fixed one in alerts.
"""

from __future__ import annotations

from dataclasses import dataclass

RATE = "$__rate_interval"  # Grafana's name for a window that is right for the scrape interval
ALERT_RATE = "5m"
CLOUD_RUN, LAMBDA = "cloud-run-request-tier1", "lambda-x86"  # each mode's usual book

_ANSWERED = f"sum by (service) (rate(windlass_requests_total[{RATE}]))"
# A service without any error has no series of them: `or` makes it zero.
_FAILED = (
    f'(sum by (service) (rate(windlass_requests_total{{code_class="5xx"}}[{RATE}])) '
    f"or 0 * {_ANSWERED})"
)


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart: queries with the names of their lines, and the unit in Grafana's words."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]  # (PromQL, legend)
    says: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule: it fires where the value is on the wrong side of the bound for so long."""

    name: str
    value: str  # PromQL
    bound: str  # a comparison, such as > 0.05
    lasts: str  # Prometheus' duration
    severity: str
    summary: str
    description: str


def _quantile(part: float, metric: str) -> str:
    return f"histogram_quantile({part}, sum by (service, le) (rate({metric}_bucket[{RATE}])))"


def _cost(book: str) -> str:
    return f'sum by (service) (rate(windlass_cost_dollars_total{{book="{book}"}}[{RATE}]))'


PANELS = (
    Panel(
        "Requests a second",
        "reqps",
        ((f"sum by (service, code_class) (rate(windlass_requests_total[{RATE}]))",
          "{{service}} {{code_class}}"),),
    ),
    Panel("Errors", "percentunit", ((f"{_FAILED} / {_ANSWERED}", "{{service}}"),),
          "The part of all answers with a status of 500 or above."),
    Panel(
        "Latency",
        "s",
        tuple(
            (_quantile(part, "windlass_request_duration_seconds"), f"{{{{service}}}} {name}")
            for part, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
        ),
        "From the head of a request to the end of its answer, queueing included.",
    ),
    Panel(
        "In flight and queued",
        "short",
        (
            ("sum by (service) (windlass_in_flight_requests)", "{{service}} in flight"),
            ("sum by (service) (windlass_queued_requests)", "{{service}} queued"),
        ),
    ),
    Panel(
        "Instances",
        "short",
        (("sum by (service, state) (windlass_instances)", "{{service}} {{state}}"),),
    ),
    Panel(
        "Requests that share an instance",
        "short",
        ((
            "sum by (service) (rate(windlass_request_duration_seconds_sum"
            f"[{RATE}])) / sum by (service) "
            f'(rate(windlass_instance_seconds_total{{kind="busy"}}[{RATE}]))',
            "{{service}}",
        ),),
        "Request-seconds per second in which an instance was busy: what concurrency saves.",
    ),
    Panel(
        "Cold starts a second",
        "short",
        ((f"sum by (service) (rate(windlass_cold_starts_total[{RATE}]))", "{{service}}"),),
        "Requests that had to wait for an instance to start.",
    ),
    Panel(
        "Wait for a cold start, p95",
        "s",
        ((_quantile(0.95, "windlass_cold_start_duration_seconds"), "{{service}}"),),
    ),
    Panel(
        "Cost an hour",
        "currencyUSD",
        (
            (f"{_cost(CLOUD_RUN)} * 3600", "{{service}} on Cloud Run"),
            (f"{_cost(LAMBDA)} * 3600", "{{service}} on Lambda"),
        ),
        "The same requests by either price book; a bill says what is assumed.",
    ),
    Panel(
        "Cost of a million requests",
        "currencyUSD",
        (
            (f"{_cost(CLOUD_RUN)} / {_ANSWERED} * 1e6", "{{service}} on Cloud Run"),
            (f"{_cost(LAMBDA)} / {_ANSWERED} * 1e6", "{{service}} on Lambda"),
        ),
    ),
    Panel(
        "What instances do",
        "short",
        ((
            f"sum by (service, kind) (rate(windlass_instance_seconds_total[{RATE}]))",
            "{{service}} {{kind}}",
        ),),
        "Instances that are starting, busy, idle or stopping, on average.",
    ),
    Panel(
        "Billed instances",
        "short",
        ((f"sum by (service) (rate(windlass_billed_seconds_total[{RATE}]))", "{{service}}"),),
        "Billed seconds a second, by the rules of each service's mode.",
    ),
    Panel(
        "Budget spent",
        "percentunit",
        (("windlass_budget_spent_dollars / windlass_budget_dollars", "{{service}}"),),
        "Of services that have a budget, in its present period.",
    ),
)  # fmt: skip

ALERTS = (
    Alert(
        "WindlassErrors", f"{_FAILED} / {_ANSWERED}", "> 0.05", "5m", "critical",
        "{{ $labels.service }} fails",
        "{{ $value | humanizePercentage }} of its answers have a status of 500 or above. See "
        "`windlass events {{ $labels.service }}` and `windlass logs {{ $labels.service }}`.",
    ),
    Alert(
        "WindlassSlow", _quantile(0.99, "windlass_request_duration_seconds"), "> 5", "10m",
        "warning",
        "{{ $labels.service }} is slow",
        "One request in a hundred takes {{ $value | humanizeDuration }} or more. See whether "
        "they wait: `windlass explain {{ $labels.service }}`.",
    ),
    Alert(
        "WindlassQueue", "sum by (service) (windlass_queued_requests)", "> 0", "2m", "warning",
        "Requests to {{ $labels.service }} wait",
        "{{ $value }} requests wait for a slot. Is --max-instances too low? "
        "`windlass explain {{ $labels.service }}` says what was decided.",
    ),
    Alert(
        "WindlassColdStarts",
        f"sum by (service) (rate(windlass_cold_starts_total[{RATE}])) / {_ANSWERED}",
        "> 0.1", "15m", "warning",
        "{{ $labels.service }} starts cold too often",
        "{{ $value | humanizePercentage }} of its requests wait for a start. --min-instances "
        "keeps some ready.",
    ),
    Alert(
        "WindlassBudgetNearlySpent", "windlass_budget_spent_dollars / windlass_budget_dollars",
        "> 0.8", "1m", "warning",
        "{{ $labels.service }} has spent {{ $value | humanizePercentage }} of its budget",
        "See `windlass bill {{ $labels.service }}` for what it was spent on.",
    ),
    Alert(
        "WindlassBudgetSpent", "windlass_budget_spent_dollars / windlass_budget_dollars",
        ">= 1", "0m", "critical",
        "The budget of {{ $labels.service }} is spent",
        "With --budget-action cap it serves nothing until the period is over or --budget is "
        "raised.",
    ),
    Alert(
        "WindlassDown", 'up{job="windlass"}', "== 0", "1m", "critical",
        "Windlass at {{ $labels.instance }} does not answer",
        "Its routers may serve on. Start the platform again with the same --state.",
    ),
)  # fmt: skip
