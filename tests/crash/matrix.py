"""Every failpoint x how it is met x what a client wants: one scenario each, audited each.

Which points a kind of errand passes is not written down: a trial of each kind tells, by the
messages that it made the services handle and send. A point that no kind passes is a finding.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from chassis import clock
from chassis.testing import eventually
from deploy.assembly import SERVICES
from tests.crash.clients import PATIENCE_S, Wrong
from tests.crash.kinds import KINDS
from tests.crash.points import Point, points
from tests.crash.shop import Shop

MISSED = "the point was not passed"
MISSES_MAX = 3
VARIANTS = ("once", "twice", "duplicate", "late")
ORDERS = 90
SCENARIOS_OF_A_SHOP = 100
# A repeat does not pass these again: what they follow is committed.
PASSED_ONCE = (
    *("gateway.answer.k4", "refund.p3", "capture.p3", "park.k4", "retry.k4"),
    *("webhook.w3", "export.x3"),
)
_OWNERS = {
    "claim": "claims",
    **dict.fromkeys(("cancel claim", "unpack claim", "refund claim", "approve"), "claims"),
    **dict.fromkeys(("pack", "send", "convert", "swap", "pay", "cancel swap"), "claims"),
    "export": "gateway",
    **dict.fromkeys(("refund", "fulfill", "ship", "unpack", "cancel order", "capture"), "orders"),
}


@dataclass(frozen=True)
class Passes:
    """What the last act of a kind made happen: handled messages by service in their order, and
    how many messages each service sent."""

    handled: dict[str, tuple[str, ...]]
    sent: dict[str, int]


@dataclass(frozen=True)
class Scenario:
    """``nth`` passage of a point while an errand of that kind is done."""

    point: Point
    kind: str
    variant: str
    nth: int = 1

    def __str__(self) -> str:
        nth = f"@{self.nth}" if self.nth > 1 else ""
        return f"{self.point.name}{nth}, {self.variant}, {self.kind}"


@dataclass
class Result:
    """How one scenario went; ``trouble`` is empty when all was well."""

    scenario: Scenario
    seconds: float = 0.0
    kills: int = 0
    trouble: str = ""


@dataclass
class Matrix:
    """All results so far."""

    results: list[Result] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        """For the report file."""
        table: dict[str, dict[str, int]] = {}
        for result in self.results:
            row = table.setdefault(result.scenario.point.name, {})
            row[result.scenario.variant] = row.get(result.scenario.variant, 0) + 1
        return {
            "scenarios": len(self.results),
            "points": len(table),
            "kinds": len({result.scenario.kind for result in self.results}),
            "kills": sum(result.kills for result in self.results),
            "seconds_each": round(
                sum(result.seconds for result in self.results) / max(len(self.results), 1), 2
            ),
            "by_point": table,
            "violations": [f"{r.scenario}: {r.trouble}" for r in self.results if r.trouble]
            + [f"no kind of errand passes {name}" for name in self.unreached],
        }


# ------------------------------------------------------------------ which scenarios there are


async def trial(shop: Shop, kind: str) -> Passes:
    """Do an errand of the kind undisturbed, and see what its last act passes."""
    errand = shop.errand(kind)
    for act in KINDS[kind].acts[:-1]:
        await shop.do(errand, act)
    since = clock.now()
    await shop.rest(since)
    since = clock.now()
    await shop.do(errand, KINDS[kind].acts[-1])
    await shop.all_is_well(since, errands=[errand])
    handled, sent = {}, {}
    for name in (*SERVICES, "gateway"):
        rows = await shop.rows(
            name,
            "SELECT type FROM inbox WHERE received_at >= :since ORDER BY received_at",
            since=since,
        )
        handled[name] = tuple(dict.fromkeys(r["type"].removeprefix("reclamo.") for r in rows))
        if name == "gateway":
            continue
        rows = await shop.rows(
            name, "SELECT COUNT(*) AS n FROM outbox WHERE created_at >= :since", since=since
        )
        sent[name] = rows[0]["n"]
    return Passes(handled, sent)


async def trials(shop: Shop) -> dict[str, Passes]:
    """Of every kind."""
    return {kind: await trial(shop, kind) for kind in KINDS}


def scenarios(passes: dict[str, Passes]) -> list[Scenario]:
    """The whole matrix. What is the same code for every message (parking and retrying) is met in
    all ways with the first kind that leads there, and once with every other."""
    found = []
    seen: set[str] = set()
    for kind, passed in passes.items():
        for point in points():
            if not _passes(point, kind, passed):
                continue
            if point.family in ("audit", "memos") and point.name in seen:
                continue  # They take any record or refund alike, and some seconds to come to it.
            again = point.name in seen
            generic = point.family in ("audit", "memos") or (point.family == "parked" and again)
            if again and point.service == "gateway" and point.family != "answer":
                continue  # One handler and one loop for whatever event.
            seen.add(point.name)
            for variant in VARIANTS[:1] if generic else VARIANTS:
                if variant == "late" and not _has_timer(kind):
                    continue
                found.append(Scenario(point, kind, variant))
            if point.place in ("relay.r1", "relay.r2"):
                found += [
                    Scenario(point, kind, "once", nth)
                    for nth in range(2, passed.sent[point.service] + 1)
                ]
    return found


def slice_of(whole: list[Scenario]) -> list[Scenario]:
    """Every step once; neighbours at different moments and in different ways, as far as a step can
    be met in them."""
    steps: dict[str, list[Scenario]] = {}
    for scenario in whole:
        if scenario.nth == 1:
            steps.setdefault(scenario.point.step, []).append(scenario)
    chosen = []
    for number, each in enumerate(steps.values()):
        names = list(dict.fromkeys(scenario.point.name for scenario in each))
        each = [s for s in each if s.point.name == names[number % len(names)]]
        variant = VARIANTS[number // len(names) % len(VARIANTS)]
        fitting = [scenario for scenario in each if scenario.variant == variant] or each
        chosen.append(fitting[number % len(fitting)])
    return chosen


def unreached(passes: dict[str, Passes]) -> list[str]:
    """Points that none of the kinds passes."""
    reached = {scenario.point.name for scenario in scenarios(passes)}
    return [point.name for point in points() if point.name not in reached]


def owner(kind: str) -> str:
    """The service whose door takes on the last act of a kind."""
    act = KINDS[kind].acts[-1]
    return _OWNERS.get(act) or _OWNERS.get(act.split()[0], "returns")


def _has_timer(kind: str) -> bool:
    """Whether its last act begins a saga."""
    act = KINDS[kind].acts[-1]
    return owner(kind) != "orders" or act.split()[0] in ("fulfill", "unpack", "cancel")


def _passes(point: Point, kind: str, passed: Passes) -> bool:
    if point.family == "message":
        return point.message in passed.handled[point.service]
    if point.family == "relay":
        return passed.sent.get(point.service, 0) > 0
    if point.family == "accept":
        return point.service == owner(kind)
    if point.family == "timers":
        return point.service == owner(kind) and bool(_participant(kind, passed))
    if point.family == "exports":
        return owner(kind) == point.service
    if point.family in ("parked", "audit", "webhooks"):
        return bool(passed.handled[point.service])
    if point.family == "refunds":
        act = KINDS[kind].acts[-1]
        pays = "refund" in act or act.startswith("receive")
        return KINDS[kind].provider == "fake" and pays
    if point.family == "memos":
        # Of store credit there is no memo.
        return KINDS[kind].refund > 0 and "credit" not in KINDS[kind].acts[-1]
    if point.family == "captures":
        return KINDS[kind].acts[-1] == "capture"
    # What is answered before it is done is not stored.
    return point.family == "answer" and KINDS[kind].status != 202


def _participant(kind: str, passed: Passes) -> tuple[str, str] | None:
    """Who is asked first, and by which command: a service that is not the saga's own."""
    return next(
        (
            (name, key)
            for name, keys in passed.handled.items()
            for key in keys
            # Others may hear what was answered (an event: it has a version); nobody waits for them.
            if name not in (owner(kind), "gateway") and not key.endswith(".v1")
        ),
        None,
    )


# ------------------------------------------------------------------ one scenario


async def play(shop: Shop, scenario: Scenario, passed: Passes) -> None:
    """Kill, let it come back, and look at everything. Raises Wrong."""
    kind, service = scenario.kind, scenario.point.service
    errand = shop.errand(kind)
    for act in KINDS[kind].acts[:-1]:
        await shop.do(errand, act)
    await shop.rest(clock.now())
    since = clock.now()
    process = shop.system.processes[service]
    process.wanted = False
    armed = _armed(scenario, passed)
    try:
        async with _led_there(shop, scenario, passed, armed) as asked:
            call = asyncio.create_task(shop.do(errand, KINDS[kind].acts[-1]))
            try:
                await _dies(shop, service, call, asked)
                shop.failpoints.write_text(_then(scenario, armed))
                if scenario.variant == "duplicate":
                    await shop.deliver_again(since)
                if scenario.variant == "late":
                    await _late(shop, service, owner(kind))
                if scenario.variant == "twice":
                    await _dies_again(shop, scenario, call, asked)
                shop.disarm()
                starts = process.starts
                process.start()
                process.wanted = True
                back = await shop.reborn(service, starts)
                if service == "gateway":
                    await shop.gateways_work_comes_due()
                await asked.over()
                await call
            finally:
                call.cancel()
                with suppress(BaseException):
                    await call
        if scenario.variant == "duplicate":
            await shop.deliver_again(since)
        await shop.all_is_well(back, errands=[errand])
        lost = await shop.asked_again_late(back)
        if lost:
            raise Wrong("\n".join(lost))
    finally:
        shop.disarm()
        process.wanted = True


def _armed(scenario: Scenario, passed: Passes) -> str:
    text = f"{scenario.point.name}@{scenario.nth}:kill"
    if scenario.point.family != "parked":
        return text
    # Somebody has to fail, or nothing is parked.
    service = scenario.point.service
    return f"{service}.{passed.handled[service][0]}.k1@1:raise,{text}"


def _then(scenario: Scenario, armed: str) -> str:
    """What is armed for the second life. A message that was not parked has to fail once more."""
    if scenario.variant != "twice":
        return ""
    return armed if scenario.point.place.startswith("park.") else f"{scenario.point.name}:kill"


async def _dies(shop: Shop, service: str, call: asyncio.Task[None], asked: _Way) -> None:
    """Until the service has died; Wrong if the client fails, or nothing dies."""
    died = asyncio.create_task(shop.died(service))
    asked.begin()
    try:
        await asyncio.wait({died, call}, return_when=asyncio.FIRST_COMPLETED)
        if not died.done():
            await call
            # Its answer may be there before the point is passed.
            await asyncio.wait({died}, timeout=10)
            if not died.done():
                raise Wrong(MISSED)
        await died
    finally:
        died.cancel()


async def _dies_again(
    shop: Shop, scenario: Scenario, call: asyncio.Task[None], asked: _Way
) -> None:
    service = scenario.point.service
    process = shop.system.processes[service]
    process.start()
    if scenario.point.name.endswith(PASSED_ONCE):
        await eventually(lambda: shop.lives(service), within_s=PATIENCE_S)
        process.signal(9)
        await shop.died(service)
    else:
        await _dies(shop, service, call, asked)


async def _late(shop: Shop, service: str, saga_owner: str) -> None:
    """All timers come due while the service is away; where their owner lives, they fire."""
    await shop.timers_come_due()
    if service == saga_owner:
        return

    async def fired() -> bool:
        rows = await shop.rows(
            saga_owner, "SELECT id FROM sagas WHERE next_at <= :now", now=clock.now()
        )
        return not rows

    await eventually(fired, within_s=PATIENCE_S)


class _Way:
    """What has to go on beside the client so that the point is passed."""

    def __init__(self, push: Callable[[], Any] | None = None) -> None:
        self._push = push
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start pushing, once."""
        if self._push is not None and self._task is None:
            self._task = asyncio.create_task(self._go_on())

    async def over(self) -> None:
        """Nothing more is needed; may be called twice."""

    async def end(self) -> None:
        """Stop pushing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _go_on(self) -> None:
        assert self._push is not None
        while True:
            await self._push()
            await asyncio.sleep(0.05)


class _HungParticipant(_Way):
    """Somebody who does not answer, so that a timer has something to do."""

    def __init__(self, shop: Shop, participant: str) -> None:
        super().__init__(shop.timers_come_due)
        self._shop = shop
        self._participant = participant

    async def over(self) -> None:
        """It is ended, and answers when it is back."""
        await self.end()
        await self._shop.kill(self._participant)


@asynccontextmanager
async def _led_there(
    shop: Shop, scenario: Scenario, passed: Passes, armed: str
) -> AsyncIterator[_Way]:
    """Arm the point, and what leads there where an errand alone does not."""
    service, family = scenario.point.service, scenario.point.family
    if family == "timers":
        found = _participant(scenario.kind, passed)
        assert found is not None
        participant, key = found
        await shop.arm(participant, f"{participant}.{key}.k1@1:hang")
        way: _Way = _HungParticipant(shop, participant)
    elif family == "parked":
        way = _Way(lambda: shop.parked_comes_due(service))
    elif family == "exports":
        # Else the next life would wait for the end of the last one's hold.
        way = _Way(shop.gateways_work_comes_due)
    else:
        way = _Way()
    await shop.arm(service, armed)
    try:
        yield way
    finally:
        await way.end()


# ------------------------------------------------------------------ many


async def run(
    open_shop: Callable[..., Any],
    *,
    wanted: Callable[[list[Scenario]], list[Scenario]],
    matrix: Matrix,
    tell: Callable[[str], None],
    lanes: int = 1,
) -> None:
    """Play what is wanted, in so many shops at once; a shop serves so many, or until something went
    wrong in it."""
    async with open_shop(orders=ORDERS) as shop:
        passes = await trials(shop)
    matrix.unreached = unreached(passes)
    todo = wanted(scenarios(passes))
    count = len(todo)
    tell(f"{count} scenarios")
    missed: dict[Scenario, int] = {}

    async def serve(shop: Shop) -> None:
        for _ in range(SCENARIOS_OF_A_SHOP):
            if not todo:
                return
            scenario = todo.pop(0)
            result = await _played(shop, scenario, passes[scenario.kind])
            if MISSED in result.trouble and missed.get(scenario, 0) < MISSES_MAX:
                # Nothing died, so nothing was shown: once more, in a fresh shop.
                missed[scenario] = missed.get(scenario, 0) + 1
                todo.insert(0, scenario)
                return
            matrix.results.append(result)
            tell(
                f"{len(matrix.results)}/{count} {scenario}: "
                f"{result.trouble or 'well'} ({result.seconds:.1f} s)"
            )
            if result.trouble:
                return

    async def lane() -> None:
        while todo:
            async with open_shop(orders=ORDERS) as shop:
                await serve(shop)

    async with asyncio.TaskGroup() as group:
        for _ in range(lanes):
            group.create_task(lane())


async def _played(shop: Shop, scenario: Scenario, passed: Passes) -> Result:
    result = Result(scenario)
    begun, kills = clock.monotonic_s(), shop.kills
    try:
        async with asyncio.timeout(120):
            await play(shop, scenario, passed)
    except (Wrong, AssertionError, TimeoutError, OSError) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        result.trouble = f"{type(error).__name__} in {last.name}: {error}"
    result.seconds = clock.monotonic_s() - begun
    result.kills = shop.kills - kills
    return result
