"""Structured logs with correlation ids, and metrics."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog
from prometheus_client import Counter, Gauge, Histogram

from chassis import context

REQUESTS = Histogram(
    "reclamo_http_request_seconds",
    "Time to answer, by service, method, route template and status",
    ("service", "method", "route", "status"),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15),
)
MESSAGES = Counter(
    "reclamo_messages_total",
    "Messages by service, direction (sent, handled, parked, dead) and type",
    ("service", "direction", "type"),
)
RELAY_HOLDS = Gauge(
    "reclamo_relay_holds",
    "1 where the outbox of the service is sent from: one process of each service has it",
    ("service",),
)
WAKES = Counter(
    "reclamo_wakes_total",
    "Hints between the processes of a service, by way (told, heard)",
    ("service", "way"),
)
QUEUE_READY = Gauge(
    "reclamo_queue_messages_ready",
    "Messages that wait in a queue of the broker, as last seen",
    ("service", "queue"),
)


def _add_context(_: Any, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    here = context.current()
    if here.correlation_id:
        event["correlation_id"] = here.correlation_id
    if here.causation_id:
        event["causation_id"] = here.causation_id
    if here.saga_id:
        event["saga_id"] = here.saga_id
    return event


def configure_logs(level: str) -> None:
    """JSON lines on stderr; control characters arrive escaped, so nobody can forge a line."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    logging.basicConfig(level=max(number, logging.WARNING), stream=sys.stderr, format="%(message)s")
    structlog.configure(
        processors=[
            _add_context,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
