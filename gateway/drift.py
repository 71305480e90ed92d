"""The search for drift: a job of the gateway, one among its replicas, that asks the services for
their books and keeps what does not agree as findings.

A difference counts only if it is still there a while later: two services may differ while work is
under way. No kind of look takes more than a two-hundredth of the time, however much there is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from prometheus_client import Gauge

from chassis import audit, audit_api, audit_chain, clock, context
from chassis.auth import Principal
from chassis.db import Database, Row
from chassis.errors import NotAllowed, NotFound, Refusal, Unavailable
from chassis.topology import Topology
from chassis.values import new_id, uuid7
from gateway import comparing, repairs, store
from gateway.clients import UnexpectedAnswer, Upstream, segment
from gateway.settings import GatewaySettings

log = structlog.get_logger(__name__)

RECONCILER = Principal("reconciler", "system")
PAGE_ROWS = 300
REST = 200  # times as long as a piece of work took, it is not done again
TURN_S = 1.0
HOLD_S = 600.0
AUTO_REPAIRS_MAX = 3
SETTLED_S = 10  # what was sent a moment ago is on its way
OPEN = Gauge("reclamo_findings_open", "Open findings of drift, by invariant", ("invariant",))
_KINDS = ("claim", "exchange", "return", "fulfillment")
_TROUBLE = (Unavailable, UnexpectedAnswer, Refusal)


@dataclass
class _Suspect:
    since: float
    facts: Row


Key = tuple[str, str, str]


class Reconciler:
    """Looks for drift, keeps findings, proposes repairs and makes the safe ones if it may."""

    def __init__(
        self, settings: GatewaySettings, database: Database, upstreams: Mapping[str, Upstream]
    ) -> None:
        self._settings = settings
        self._database = database
        self._services = upstreams
        self._suspects: dict[Key, _Suspect] = {}
        self._sweep: AsyncIterator[None] | None = None
        self._every_s = {
            "own": settings.drift_own_s,
            "changed": settings.drift_changed_s,
            "again": settings.drift_confirm_s,
            "full": settings.drift_full_s,
        }
        now = clock.monotonic_s()
        self._due = {what: now + every_s for what, every_s in self._every_s.items()}

    # ---- when ------------------------------------------------------------------------------

    async def step(self) -> bool:
        """For a Loop: work while no other replica does."""
        async with self._database.exclusive("reclamo.drift") as mine:
            until = clock.monotonic_s() + HOLD_S
            while mine is not None and clock.monotonic_s() < until:
                context.begin(context.Context(correlation_id=uuid7(), **_WHO))
                await self._turn()
                await asyncio.sleep(TURN_S)
        return False

    async def _turn(self) -> None:
        """One piece of work, what has been due for the longest time, and when it is due again."""
        began = clock.monotonic_s()
        what = min(self._due, key=self._due.__getitem__)
        if began < self._due[what]:
            return
        pause_s = self._every_s[what]
        try:
            if what == "own":
                await self.own_books()
            elif what == "changed":
                await self.changed()
            elif what == "again":
                await self.again()
            elif await self._sweep_on():
                pause_s = 0.0  # the next page, as soon as this one's rest is over
        except _TROUBLE as trouble:
            log.info("drift_search_waits", what=what, reason=str(trouble))
        now = clock.monotonic_s()
        self._due[what] = now + max(pause_s, REST * (now - began))

    async def _sweep_on(self) -> bool:
        """The next page of everything; False after the last one. Trouble begins anew."""
        sweep, self._sweep = self._sweep or self._everything(), None
        try:
            await anext(sweep)
        except StopAsyncIteration:
            return False
        self._sweep = sweep
        return True

    async def look(self) -> None:
        """Look at everything now, and again at what seems wrong; for people who cannot wait."""
        confirm_s = self._settings.drift_confirm_s
        for wait_s in (0.0, confirm_s) if confirm_s else (0.0,):
            await asyncio.sleep(wait_s)
            await self.own_books()
            async for _ in self._everything():
                pass
            await self.again()

    # ---- what ------------------------------------------------------------------------------

    async def own_books(self) -> None:
        """What each service finds wrong in its own database."""
        for name in self._services:
            try:
                answer = await self._get(name, "/internal/reconcile/findings")
            except _TROUBLE as trouble:
                log.info("drift_search_waits", service=name, reason=str(trouble))
                continue
            await self._found(name, answer["findings"], lambda about: True)

    async def changed(self) -> None:
        """What was touched since the last time, and which messages were sent."""
        touched: set[str] = set()
        for name in self._services:
            touched |= await self._touched(name)
            await self._sent(name, f"sent.{name}")
        ids = sorted(touched)
        for start in range(0, len(ids), PAGE_ROWS):
            await self._compare(ids[start : start + PAGE_ROWS])

    async def again(self) -> None:
        """Suspicions, and what is open: still so?"""
        live = await self._live("books")
        ids = {about for source, _, about in self._suspects if source == "books"}
        ids |= {row["about"] for row in live}
        for page in _pages(sorted(ids)):
            await self._compare(page)
        missing = [row["facts"] for row in await self._live("messages")]
        missing += [each.facts for key, each in self._suspects.items() if key[0] == "messages"]
        bound = await self._bound() if missing else {}
        for name in self._services:
            of_it = {row["id"]: row for row in missing if row.get("service") == name}
            if of_it:
                await self._check_sent(name, list(of_it.values()), bound)

    async def _everything(self) -> AsyncIterator[None]:
        """All there is, page by page."""
        for name in self._services:
            after = ""
            while True:
                params = {"after": after, "limit": PAGE_ROWS}
                page = (await self._get(name, "/internal/reconcile/subjects", params))["ids"]
                if not page:
                    break
                await self._compare(page)
                after = page[-1]
                yield
        for name in self._services:
            after_seq: int | None = 0
            while after_seq is not None:
                after_seq = await self._sent_page(name, after_seq)
                yield
            async for _ in self._strange(name):
                yield
        for name in (*self._services, "gateway"):
            async for _ in self._chain(name):
                yield

    # ---- books compared --------------------------------------------------------------------

    async def _touched(self, name: str) -> set[str]:
        mark = await self._mark(f"touched.{name}")
        found: set[str] = set()
        after = mark["after"] if mark else None
        while True:
            # At the very first there is only the end to remember: the full look knows the rest.
            params = {"after": after or 0, "limit": 1 if after is None else PAGE_ROWS}
            page = await self._get(name, "/internal/reconcile/changed", params)
            if after is None:
                after = page["end"]
                break
            for about in page["touched"]:
                kind, _, id_ = about.partition("/")
                found |= {id_} if kind in _KINDS else set()
            if page["after"] == after:
                break
            after = page["after"]
        await self._set_mark(f"touched.{name}", {"after": after})
        return found

    async def _compare(self, ids: Iterable[str]) -> None:
        """Compare what all know of these subjects, and of those that belong to them."""
        asked = set(ids)
        rows: dict[str, list[Row]] = {}
        for _ in range(3):
            rows = await self._rows("claims", asked) | await self._rows("returns", asked)
            wider = asked | _related(rows)
            if wider == asked:
                break
            asked = wider
        rows |= await self._rows("orders", asked) | await self._rows("inventory", asked)
        found = comparing.compare(comparing.picture(rows))
        await self._found("books", found, asked.__contains__)

    async def _rows(self, name: str, ids: set[str]) -> dict[str, list[Row]]:
        answer = await self._post(name, "/internal/reconcile/rows", {"ids": sorted(ids)})
        rows: dict[str, list[Row]] = answer["rows"]
        return rows

    # ---- messages --------------------------------------------------------------------------

    async def _bound(self) -> dict[str, list[tuple[str, str, str]]]:
        return {
            name: [
                (queue, exchange, key)
                for queue, exchange, key in (await self._get(name, "/internal/reconcile/bindings"))[
                    "bindings"
                ]
            ]
            for name in self._services
        }

    async def _sent(self, name: str, mark_name: str) -> None:
        mark = await self._mark(mark_name)
        if mark is None:
            end = (await self._get(name, "/internal/reconcile/sent", {"after": 0, "limit": 1}))[
                "end"
            ]
            await self._set_mark(mark_name, {"after": end})
            return
        after: int | None = mark["after"]
        while after is not None:
            await self._set_mark(mark_name, {"after": after})
            after = await self._sent_page(name, after)

    async def _sent_page(self, name: str, after: int) -> int | None:
        """Check a page of sent messages; where to go on, None at the end."""
        settled_s = int(min(self._settings.drift_confirm_s, SETTLED_S))
        params = {"after": after, "limit": PAGE_ROWS, "settled_s": settled_s}
        page = (await self._get(name, "/internal/reconcile/sent", params))["messages"]
        if not page:
            return None
        await self._check_sent(name, page, await self._bound())
        return int(page[-1]["seq"])

    async def _check_sent(
        self, name: str, page: list[Row], bound: Mapping[str, list[tuple[str, str, str]]]
    ) -> None:
        """I7: whoever is bound to a sent message has seen it."""
        topology = Topology(tuple(each for bindings in bound.values() for each in bindings))
        owners = {queue: owner for owner, bindings in bound.items() for queue, _, _ in bindings}
        wanted: dict[str, list[str]] = {}
        for row in page:
            for queue in topology.queues_for(row["exchange"], row["routing_key"]):
                wanted.setdefault(queue, []).append(row["id"])
        seen: set[tuple[str, str]] = set()
        for queue, ids in wanted.items():
            body = {"consumer": queue, "ids": ids}
            answer = await self._post(owners[queue], "/internal/reconcile/seen", body)
            seen |= {(queue, id_) for id_ in answer["ids"]}
        facts = {row["id"]: {**row, "service": name} for row in page}
        lost = comparing.lost(page, topology, seen)
        await self._found("messages", lost, facts.__contains__, facts)

    async def _strange(self, name: str) -> AsyncIterator[None]:
        """I7: nobody saw a message that was never written."""
        consumer = message_id = ""
        while True:
            params = {"consumer": consumer, "message_id": message_id, "limit": PAGE_ROWS}
            page = (await self._get(name, "/internal/reconcile/seen", params))["messages"]
            if not page:
                return
            consumer, message_id = page[-1]["consumer"], page[-1]["message_id"]
            ids = [row["message_id"] for row in page]
            written: set[str] = set()
            for owner in self._services:
                answer = await self._post(owner, "/internal/reconcile/written", {"ids": ids})
                written |= set(answer["ids"])
            found = comparing.strange(page, written)
            await self._found(f"inbox.{name}", found, set(ids).__contains__)
            yield

    # ---- audit -----------------------------------------------------------------------------

    async def _chain(self, name: str) -> AsyncIterator[None]:
        """I14: walk a chain to its end, and keep its head so that a cut is seen the next time."""
        kept = await self._mark(f"audit.{name}") or {"number": 0, "hash": audit_chain.FIRST}
        at: Row = {"number": 0, "hash": audit_chain.FIRST, "at": None, "more": True}
        found: list[Row] = []
        while at["more"]:
            if name == "gateway":
                so_far = audit_chain.Walk(at["number"], at["hash"], at["at"])
                async with self._database.reading() as tx:
                    at = await audit_api.stretch(tx, so_far, kept["number"], kept["hash"])
            else:
                params = {key: at[key] for key in ("number", "hash", "at")}
                params |= {"kept_number": kept["number"], "kept_hash": kept["hash"]}
                at = await self._get(name, "/internal/audit/check", params)
            found += at["findings"]
            yield
        await self._found(f"audit.{name}", found, lambda about: True, at_once=True)
        if not found:
            await self._set_mark(f"audit.{name}", {"number": at["number"], "hash": at["hash"]})

    # ---- findings --------------------------------------------------------------------------

    async def _found(
        self,
        source: str,
        rows: list[Row],
        looked_at: Callable[[str], bool],
        facts: Mapping[str, Row] | None = None,
        *,
        at_once: bool = False,
    ) -> None:
        """Book what a look at some of a source found; what it did not find again is over."""
        told: dict[Key, list[str]] = {}
        for row in rows:
            told.setdefault((source, row["invariant"], row["id"]), []).append(row["message"])
        now = clock.monotonic_s()
        for key in [each for each in self._suspects if each[0] == source]:
            if key not in told and looked_at(key[2]):
                del self._suspects[key]
        confirmed = []
        for key, messages in told.items():
            suspect = self._suspects.setdefault(key, _Suspect(now, (facts or {}).get(key[2], {})))
            if at_once or now - suspect.since >= self._settings.drift_confirm_s:
                confirmed.append((key, "; ".join(messages), suspect.facts))
        live = {(source, row["invariant"], row["about"]): row for row in await self._live(source)}
        over = [row["id"] for key, row in live.items() if key not in told and looked_at(key[2])]
        if not confirmed and not over:
            return
        async with self._database.transaction() as tx:
            await store.close_findings(tx, ids=over, now=clock.now())
            for (_, invariant, about), message, known in confirmed:
                row = {"id": new_id("find"), "source": source, "invariant": invariant}
                row |= {"about": about, "message": message, "facts": known, "now": clock.now()}
                await store.put_finding(tx, row=row)
        for key, message, _ in confirmed:
            if key not in live:
                log.error("drift", source=source, invariant=key[1], about=key[2], message=message)
        if self._settings.repair == "safe":
            await self._mend_safely(source)

    async def _mend_safely(self, source: str) -> None:
        for row in await self._live(source):
            async with self._database.reading() as tx:
                finding = await store.finding(tx, finding_id=row["id"])
            if finding is None or finding["state"] != "open":
                continue
            tried = finding["repairs"]
            if tried >= AUTO_REPAIRS_MAX or (tried and not _is_over(finding["repaired_at"])):
                continue
            if repairs.propose(invariant=row["invariant"], message=finding["message"]).repair:
                await self.repair(finding["id"], RECONCILER)

    async def repair(self, finding_id: str, who: Principal) -> Row:
        """Make the proposed repair; the finding. Whether it helped is seen at the next look.

        Raises NotFound, NotAllowed where a person has to decide, Unavailable.
        """
        async with self._database.reading() as tx:
            finding = await store.finding(tx, finding_id=finding_id)
        if finding is None:
            raise _unknown(finding_id)
        if finding["state"] not in ("open", "dismissed"):
            raise NotAllowed("finding_over", f"The finding is {finding['state']}: nothing to do.")
        proposal = repairs.propose(invariant=finding["invariant"], message=finding["message"])
        if proposal.repair is None:
            raise NotAllowed("no_safe_repair", f"A person has to decide: {proposal.advice}")
        outcome = await self._carry_out(proposal.repair, finding, who)
        async with self._database.transaction() as tx:
            await store.finding_repaired(tx, finding_id=finding_id, now=clock.now())
            await audit.record(
                tx,
                action="finding.repaired",
                about=f"finding/{finding_id}",
                after={"repair": proposal.repair, "about": finding["about"], "outcome": outcome},
            )
            told = await store.finding(tx, finding_id=finding_id)
        return told or finding

    async def _carry_out(self, repair: str, finding: Row, who: Principal) -> Any:
        about = finding["about"]
        if repair == repairs.RESEND:
            to, path = [finding["facts"]["service"]], "/internal/reconcile/resend"
            body: Row | None = {"ids": [about]}
        elif repair == repairs.RESEND_ABOUT:
            to, path = list(self._services), "/internal/reconcile/resend"
            body = {"about": about}
        elif repair == repairs.WAKE:
            to, path, body = [finding["source"]], "/internal/reconcile/wake", {"ids": [about]}
        else:
            # Orders' own ids may look like anything: what was loaded keeps its name.
            owners = {"claim": ["claims"], "ret": ["returns"], "ful": ["orders", "claims"]}
            owners["swap"] = owners["claim"]
            to = owners.get(about.partition("_")[0], ["orders"])
            path, body = f"/internal/reconcile/release/{segment(about)}", None
        return {
            name: await self._services[name].send("POST", path, who=who, body=body) for name in to
        }

    async def dismiss(self, finding_id: str, note: str | None) -> Row:
        """Nobody wants to hear of it any more; the finding. Raises NotFound."""
        async with self._database.transaction() as tx:
            finding = await store.finding(tx, finding_id=finding_id)
            if finding is None:
                raise _unknown(finding_id)
            await store.dismiss_finding(tx, finding_id=finding_id, note=note, now=clock.now())
            await audit.record(
                tx, action="finding.dismissed", about=f"finding/{finding_id}", note=note
            )
            told = await store.finding(tx, finding_id=finding_id)
        return told or finding

    # ---- small -----------------------------------------------------------------------------

    async def _live(self, source: str) -> list[Row]:
        async with self._database.reading() as tx:
            return await store.live_findings(tx, source=source)

    async def _mark(self, name: str) -> Row | None:
        async with self._database.reading() as tx:
            return await store.drift_mark(tx, name=name)

    async def _set_mark(self, name: str, value: Row) -> None:
        async with self._database.transaction() as tx:
            await store.set_drift_mark(tx, name=name, value=value)

    async def _get(self, name: str, path: str, params: Row | None = None) -> Row:
        found: Row = await self._services[name].get(path, who=RECONCILER, params=params)
        return found

    async def _post(self, name: str, path: str, body: Row) -> Row:
        found: Row = await self._services[name].send("POST", path, who=RECONCILER, body=body)
        return found


async def measure(database: Database) -> None:
    """Bring the metric up to date; for a scrape."""
    async with database.reading() as tx:
        counts = await store.open_findings(tx)
    OPEN.clear()
    for invariant, count in counts.items():
        OPEN.labels(invariant).set(count)


_WHO = {"actor_kind": RECONCILER.role, "actor_id": RECONCILER.id}


def _related(rows: Mapping[str, list[Row]]) -> set[str]:
    """Ids that belong to what was read: a claim's return, a return's claim and receipts."""
    found = {row["id"] for row in (*rows["claims"], *rows["returns"])}
    found |= {row["return_id"] for row in (*rows["claims"], *rows["receipts"])}
    found |= {row["stock_id"] for row in rows["claims"]}
    found |= {row["claim_id"] for row in rows["returns"]}
    found |= {row["receipt_id"] for row in rows["receipts"]}
    return found - {None}


def _pages(ids: list[str]) -> Iterable[list[str]]:
    return (ids[start : start + PAGE_ROWS] for start in range(0, len(ids), PAGE_ROWS))


def _is_over(repaired_at: Any) -> bool:
    return repaired_at is None or (clock.now() - repaired_at).total_seconds() > HOLD_S


def _unknown(finding_id: str) -> NotFound:
    return NotFound("finding_unknown", f"Finding with id: {finding_id} was not found")
