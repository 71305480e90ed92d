"""Every failpoint there is, generated from the code's own tables; none is listed by hand.

k1 after BEGIN, k3 before COMMIT, k4 after COMMIT and before the acknowledgement or answer;
r1 before a message is published, r2 after one was confirmed while others are under way, r3 before
the mark; p1 to p3 around the payment provider; w1 to w3 around the receiver of a webhook;
x1 to x3 around the writing of a piece of an export; m1 and m2 around the commit of credit memos.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from chassis.sagas import SagaTable
from deploy.assembly import SERVICES, SUBSCRIPTIONS
from services.claims.saga import SAGAS as CLAIM_SAGAS
from services.orders.saga import SAGAS as ORDER_SAGAS
from services.returns.saga import SAGAS as RETURN_SAGAS

ROOT = Path(__file__).resolve().parents[2]
CODE = ("shared/chassis", "services", "gateway", "deploy")
SAGAS: dict[str, tuple[SagaTable, ...]] = {
    "orders": tuple(ORDER_SAGAS.values()),
    "claims": tuple(CLAIM_SAGAS.values()),
    "returns": tuple(RETURN_SAGAS.values()),
}
RELAY = ("relay.r1", "relay.r2", "relay.r3")
# What each background loop passes, by its name without the service's.
LOOPS = {
    "timers": ("timers.k1", "timers.k3", "timers.k4"),
    "parked": ("park.k3", "park.k4", "retry.k1", "retry.k2", "retry.k3", "retry.k4"),
    "refunds": ("refund.p1", "refund.p2", "refund.p3"),
    "captures": ("capture.p1", "capture.p2", "capture.p3"),
    "memos": ("memo.m1", "memo.m2"),
    "audit": ("audit.k3", "audit.k4"),
    "webhooks": ("webhook.w1", "webhook.w2", "webhook.w3"),
    "exports": ("export.x1", "export.x2", "export.x3"),
    # It removes what nobody can find; what a crash leaves, the next round removes.
    "evidence": (),
}
ACCEPT = ("accept.k1", "accept.k3", "accept.k4")
ANSWER = ("answer.k3", "answer.k4")
# The gateway hears every event by one and the same handler: it is met with one of them.
HEARD = "claims.claim.created.v1"


@dataclass(frozen=True)
class Point:
    """A failpoint; ``family``: message, relay, timers, parked, refunds, captures, memos, audit,
    webhooks, exports, accept or answer.

    ``message`` is the key of the message whose handling passes it, else empty.
    """

    service: str
    place: str
    family: str
    message: str = ""

    @property
    def name(self) -> str:
        """As ``RECLAMO_FAILPOINT`` wants it."""
        return f"{self.service}.{self.place}"

    @property
    def step(self) -> str:
        """What is interrupted: the name without the moment."""
        return self.name.rpartition(".")[0]


def points() -> tuple[Point, ...]:
    """All of them, sorted."""
    found = {Point("gateway", place, "answer") for place in ANSWER}
    assert HEARD in handled("gateway")
    found |= {
        Point("gateway", f"{HEARD}.{moment}", "message", HEARD) for moment in ("k1", "k3", "k4")
    }
    found |= {
        Point("gateway", place, loop)
        for loop in ("parked", "webhooks", "exports")
        for place in LOOPS[loop]
    }
    for service in SERVICES:
        found |= {Point(service, place, "relay") for place in RELAY}
        for key in handled(service):
            places = (f"{key}.{moment}" for moment in ("k1", "k3", "k4"))
            found |= {Point(service, place, "message", key) for place in places}
        for loop in loops(service):
            found |= {Point(service, place, loop) for place in LOOPS[loop]}
        if accepts(service):
            found |= {Point(service, place, "accept") for place in ACCEPT}
    return tuple(sorted(found, key=lambda point: point.name))


def handled(service: str) -> tuple[str, ...]:
    """The keys of the messages a service has a handler for."""
    return tuple(sorted({model.key for part in SUBSCRIPTIONS[service] for model in part.handlers}))


def loops(service: str) -> tuple[str, ...]:
    """The background loops of a service, by the names in its app.py; parked ones come with
    every subscription, and every service seals its audit trail."""
    own = re.findall(rf'Loop\(\s*"{service}\.(\w+)"', _source(f"services/{service}/app.py"))
    return (*own, *(("parked",) if SUBSCRIPTIONS[service] else ()), "audit")


def accepts(service: str) -> bool:
    """Whether a service has doors that take on work for a saga."""
    return any(_calls(door, "accepting") for door in doors(service))


def doors(service: str) -> tuple[ast.AsyncFunctionDef, ...]:
    """The functions behind the routes of a service."""
    files = sorted((ROOT / "services" / service).glob("*api.py"))
    trees = [ast.parse(file.read_text()) for file in files]
    return tuple(
        node for tree in trees for node in tree.body if isinstance(node, ast.AsyncFunctionDef)
    )


def waits_for_a_saga(door: ast.AsyncFunctionDef) -> bool:
    """Whether it answers when a saga has settled."""
    return _calls(door, "settled")


def takes_on(door: ast.AsyncFunctionDef) -> bool:
    """Whether it opens its transaction by ``accepting``, which has the failpoints."""
    return _calls(door, "accepting")


def asked(tables: Iterable[SagaTable]) -> Iterator[type]:
    """Every reply class that the steps of these tables wait for."""
    for table in tables:
        yield from table.hears()


def templates() -> dict[str, str]:
    """Pattern of every ``failpoint(...)`` in the code -> where it stands."""
    found = {}
    for folder in CODE:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and _name(node.func) == "failpoint":
                    found[_pattern(node.args[0])] = f"{file.relative_to(ROOT)}:{node.lineno}"
    return found


def _pattern(argument: ast.expr) -> str:
    if isinstance(argument, ast.Constant):
        return re.escape(str(argument.value))
    assert isinstance(argument, ast.JoinedStr), ast.dump(argument)
    parts = []
    for value in argument.values:
        if isinstance(value, ast.Constant):
            parts.append(re.escape(str(value.value)))
        else:
            assert isinstance(value, ast.FormattedValue)
            # A service is one word; the key of a message has several.
            parts.append(r"[a-z-]+(\.[a-z0-9-]+)+" if "key" in ast.unparse(value) else "[a-z]+")
    return "".join(parts)


def _calls(node: ast.AST, name: str) -> bool:
    return any(isinstance(part, ast.Call) and _name(part.func) == name for part in ast.walk(node))


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _source(path: str) -> str:
    return (ROOT / path).read_text()
