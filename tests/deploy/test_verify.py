"""`reclamo verify` finds every kind of drift, names the thing, and never cries wolf."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chassis.db import connect
from chassis.messaging import COMMANDS, EVENTS
from chassis.testing import DatabaseUrl, eventually
from deploy.assembly import PROCESSES, SERVICES, topology
from deploy.demo.shop import line_id, order_id, variant_id
from deploy.demo_seed import seed
from deploy.embedded import running
from deploy.gateway_client import Gateway
from deploy.secrets_file import load
from deploy.verify import Report, verify
from gateway.comparing import Picture, compare, lost, strange
from gateway.settings import GatewaySettings
from tests.deploy.system import PASSWORD, TOKEN, reclamo, serving, up

# ---- pure: what two services may not disagree about --------------------------------------------


def _healthy() -> Picture:
    """A refunded claim with its return, a replacement, and a return of its own that came back."""
    return Picture(
        claims={
            "claim_1": _claim("claim_1", payment_status="refunded", refund_amount=1200)
            | {"return_id": "ret_1"},
            "claim_2": _claim("claim_2", type="replace", wants_stock=True),
            "claim_3": _claim("claim_3", type="replace", wants_stock=True, status="canceled"),
            "swap_1": _swap("swap_1", "difference_refunded", -700, refund_amount=700),
            "swap_2": _swap("swap_2", "captured", 500),
        },
        claimed={
            ("claim_1", "item_1"): 1,
            ("claim_2", "item_2"): 2,
            ("claim_3", "item_3"): 1,
            ("swap_1", "item_5"): 1,
            ("swap_2", "item_5"): 1,
        },
        remedies={
            "claim_1": _remedy("claim_1", state="settled"),
            "claim_2": _remedy("claim_2"),
            "claim_3": _remedy("claim_3", state="released"),
            "swap_1": _remedy("swap_1", kind="exchange", state="settled"),
            "swap_2": _remedy("swap_2", kind="exchange", state="settled"),
            "ret_2": _remedy("ret_2", kind="return", state="settled"),
            # What came unannounced: under the id of its receipt.
            "rcpt_2": _remedy("rcpt_2", kind="return", state="settled"),
        },
        remedied={
            ("claim_1", "item_1"): 1,
            ("claim_2", "item_2"): 2,
            ("ret_2", "item_4"): 1,
            ("swap_1", "item_5"): 1,
            ("swap_2", "item_5"): 1,
        },
        exchanges={
            "swap_1": {"difference_due": -700, "payment_id": None},
            "swap_2": {"difference_due": 500, "payment_id": "pay_2"},
        },
        refunds={
            ("claim", "claim_1"): {"state": "posted", "amount": 1200},
            ("exchange", "swap_1"): {"state": "posted", "amount": 700},
            ("receipt", "rcpt_2"): {"state": "posted", "amount": 800},
        },
        order_receipts={"rcpt_2": {"state": "settled", "owed_amount": 0}},
        returns={
            "ret_1": _return("ret_1", claim_id="claim_1"),
            "ret_2": _return("ret_2", state="received"),
            "ret_swap_1": _return("ret_swap_1", claim_id="swap_1"),
            "ret_swap_2": _return("ret_swap_2", claim_id="swap_2"),
        },
        receipts=[
            {
                "receipt_id": "rcpt_2",
                "return_id": "ret_2",
                "refund_amount": 800,
                "owed_amount": 0,
            }
        ],
        receipt_lines=[
            {
                "receipt_id": "rcpt_2",
                "variant_id": "variant_4",
                "quantity": 2,
                "damaged_quantity": 1,
            }
        ],
        reservations={
            "claim_2": _stock(held_units=2),
            "claim_3": _stock(state="released", released_units=1),
            "swap_1": _stock(held_units=1),
            "swap_2": _stock(held_units=1),
        },
        stock_receipts={"rcpt_2": {"state": "booked", "moved_units": 1}},
        fulfillments={
            "ful_1": _packed("live"),
            "ful_2": _packed("canceled"),
            "ful_3": _packed("live", uses_stock=False),
            "ful_4": _packed("refused"),
            "ful_5": _packed("live", claim_id="claim_2", shipped_at="2026-11-20"),
            "ful_6": _packed("canceled", claim_id="claim_2", shipped_at=None),
        },
        parcels={
            "ful_5": {"claim_id": "claim_2", "state": "shipped"},
            "ful_6": {"claim_id": "claim_2", "state": "withdrawn"},
        },
        stock_uses={
            "ful_1": _used("consumed"),
            "ful_5": _used("consumed"),
            "ful_6": _used("restored"),
            "ful_2": _used("restored"),
            "ful_4": _used("restored"),
        },
        canceled_orders={"order_2"},
        released_orders={"order_2"},
    )


def _packed(state: str, **facts: Any) -> dict[str, Any]:
    return {"order_id": "order_1", "state": state, "uses_stock": True, **facts}


def _used(state: str, **facts: Any) -> dict[str, Any]:
    return {"order_id": "order_1", "state": state, **facts}


def _claim(claim_id: str, **facts: Any) -> dict[str, Any]:
    return {
        "id": claim_id,
        "order_id": "order_1",
        "type": "refund",
        "status": "open",
        "payment_status": "na",
        "refund_amount": None,
        "return_id": None,
        "recovery_point": "finished",
        "wants_stock": False,
        **facts,
    }


def _swap(swap_id: str, status: str, difference_due: int, **facts: Any) -> dict[str, Any]:
    known = _claim(swap_id, type="exchange", payment_status=status, wants_stock=True)
    return known | {"return_id": f"ret_{swap_id}", "difference_due": difference_due} | facts


def _remedy(remedy_id: str, **facts: Any) -> dict[str, Any]:
    known = {"id": remedy_id, "kind": "claim", "order_id": "order_1", "state": "held"}
    return known | facts


def _return(return_id: str, **facts: Any) -> dict[str, Any]:
    known = {"id": return_id, "order_id": "order_1", "claim_id": None, "state": "requested"}
    return known | facts


def _stock(**facts: Any) -> dict[str, Any]:
    known = {"state": "held", "rejected": False, "held_units": 0, "released_units": 0}
    return known | {"manual_units": 0} | facts


Sin = Callable[[Picture], Any]
SINS: dict[str, tuple[Sin, str, str, str]] = {
    "an exchange without a hold": (
        lambda p: p.remedies["swap_1"].update(state="released"),
        *("I16", "swap_1", "orders holds nothing for it"),
    ),
    "a hold for nobody's exchange": (
        lambda p: p.remedies.update(swap_9=_remedy("swap_9", kind="exchange")),
        *("I16", "swap_9", "a claim that nobody knows"),
    ),
    "an exchange held as a claim": (
        lambda p: p.remedies["swap_1"].update(kind="claim"),
        *("I16", "swap_1", "it is of type exchange, but orders holds a claim"),
    ),
    "an exchange without its goods": (
        lambda p: p.reservations.pop("swap_1"),
        *("I4", "swap_1", "the claim is open, but inventory holds nothing for it"),
    ),
    "an exchange without its return": (
        lambda p: p.returns.pop("ret_swap_1"),
        *("I13", "swap_1", "its return ret_swap_1 is not there"),
    ),
    "a difference that went back otherwise": (
        lambda p: p.refunds[("exchange", "swap_1")].update(amount=701),
        *("I2", "swap_1", "700 of the difference went back says claims, 701 says orders"),
    ),
    "a difference that nobody settled": (
        lambda p: p.exchanges.pop("swap_1"),
        *("I9", "swap_1", "the exchange is open, but orders has not settled its difference"),
    ),
    "another difference": (
        lambda p: p.exchanges["swap_2"].update(difference_due=400),
        *("I9", "swap_2", "the difference is 500 says claims, 400 says orders"),
    ),
    "a difference that was paid on one side only": (
        lambda p: p.exchanges["swap_2"].update(payment_id=None),
        *("I9", "swap_2", "claims and orders disagree on whether the difference was paid"),
    ),
    "a refund for nobody's exchange": (
        lambda p: p.refunds.update({("exchange", "swap_9"): {"state": "posted", "amount": 5}}),
        *("I2", "swap_9", "orders refunded for an exchange that nobody knows"),
    ),
    "money that is owed on one side only": (
        lambda p: p.order_receipts["rcpt_2"].update(owed_amount=300),
        *("I9", "rcpt_2", "0 is still owed says returns, 300 says orders"),
    ),
    "an open claim without a hold": (
        lambda p: p.remedies["claim_1"].update(state="released"),
        *("I16", "claim_1", "orders holds nothing for it"),
    ),
    "a canceled claim with a hold": (
        lambda p: p.remedies["claim_3"].update(state="held"),
        *("I13", "claim_3", "orders still holds its units"),
    ),
    "a refused claim with a hold": (
        lambda p: p.claims["claim_2"].update(status="refused"),
        *("I13", "claim_2", "the claim is refused, but orders still holds its units"),
    ),
    "a claim held on another order": (
        lambda p: p.remedies["claim_1"].update(order_id="order_9"),
        *("I8", "claim_1", "claimed on order_1, but held on order_9"),
    ),
    "a hold for nobody's claim": (
        lambda p: p.remedies.update(claim_9=_remedy("claim_9")),
        *("I16", "claim_9", "a claim that nobody knows"),
    ),
    "more units claimed than held": (
        lambda p: p.claimed.update({("claim_2", "item_2"): 3}),
        *("I16", "claim_2", "3 units of item_2 are claimed, 2 are held"),
    ),
    "a claimed line that is not held at all": (
        lambda p: p.remedied.pop(("claim_1", "item_1")),
        *("I16", "claim_1", "1 units of item_1 are claimed, 0 are held"),
    ),
    "a live return without a hold": (
        lambda p: p.remedies.pop("ret_2"),
        *("I16", "ret_2", "orders holds nothing for it"),
    ),
    "a canceled return with a hold": (
        lambda p: p.returns["ret_2"].update(state="canceled"),
        *("I13", "ret_2", "the return is canceled, but orders still holds its units"),
    ),
    "a return held on another order": (
        lambda p: p.remedies["ret_2"].update(order_id="order_9"),
        *("I8", "ret_2", "returned from order_1, but held on order_9"),
    ),
    "a hold for nobody's return": (
        lambda p: p.remedies.update(ret_9=_remedy("ret_9", kind="return")),
        *("I16", "ret_9", "a return that nobody knows"),
    ),
    "a claim refunded with another amount": (
        lambda p: p.refunds[("claim", "claim_1")].update(amount=1300),
        *("I2", "claim_1", "refunded 1200 says claims, 1300 says orders"),
    ),
    "a claim refunded by nobody": (
        lambda p: p.refunds.pop(("claim", "claim_1")),
        *("I2", "claim_1", "refunded 1200 says claims, 0 says orders"),
    ),
    "a refund that claims does not know": (
        lambda p: p.claims["claim_1"].update(payment_status="not_refunded"),
        *("I2", "claim_1", "orders refunded 1200, claims does not know"),
    ),
    "a canceled claim that was refunded": (
        lambda p: p.claims["claim_1"].update(status="canceled"),
        *("I12", "claim_1", "the claim is canceled, but 1200 was refunded"),
    ),
    "a refund for nobody's claim": (
        lambda p: p.refunds.update({("claim", "claim_9"): {"state": "posted", "amount": 5}}),
        *("I2", "claim_9", "a claim that nobody knows"),
    ),
    "a receipt paid with another amount": (
        lambda p: p.receipts[0].update(refund_amount=700),
        *("I2", "rcpt_2", "refunded 700 says returns, 800 says orders"),
    ),
    "a refund for a receipt that is not settled": (
        lambda p: p.refunds.update({("receipt", "rcpt_9"): {"state": "posted", "amount": 5}}),
        *("I2", "rcpt_9", "a receipt that returns has not settled"),
    ),
    "a receipt that orders has not booked": (
        lambda p: p.order_receipts.pop("rcpt_2"),
        *("I16", "rcpt_2", "orders has not booked it"),
    ),
    "a receipt that only orders knows": (
        lambda p: p.order_receipts.update(rcpt_9={"state": "settled"}),
        *("I16", "rcpt_9", "orders booked a receipt that returns has not settled"),
    ),
    "an open replacement without stock": (
        lambda p: p.reservations.pop("claim_2"),
        *("I4", "claim_2", "inventory holds nothing for it"),
    ),
    "an open replacement whose stock was refused": (
        lambda p: p.reservations["claim_2"].update(rejected=True),
        *("I4", "claim_2", "inventory holds nothing for it"),
    ),
    "an open replacement whose stock was freed": (
        lambda p: p.reservations["claim_2"].update(held_units=0, released_units=2),
        *("I4", "claim_2", "2 of its units were released"),
    ),
    "a canceled claim with reserved stock": (
        lambda p: p.reservations["claim_3"].update(state="held"),
        *("I4", "claim_3", "the claim is canceled, but its stock is still reserved"),
    ),
    "stock for nobody's claim": (
        lambda p: p.reservations.update(claim_9=_stock()),
        *("I4", "claim_9", "a claim that nobody knows"),
    ),
    "a receipt that never went into stock": (
        lambda p: p.stock_receipts.pop("rcpt_2"),
        *("I17", "rcpt_2", "inventory has not booked it"),
    ),
    "a receipt that went into stock twice": (
        lambda p: p.stock_receipts["rcpt_2"].update(moved_units=2),
        *("I17", "rcpt_2", "1 units came, 2 went into stock"),
    ),
    "stock moved for nobody's receipt": (
        lambda p: p.stock_receipts.update(rcpt_9={"state": "booked", "moved_units": 1}),
        *("I17", "rcpt_9", "a receipt that is not settled"),
    ),
    "a claim without its return": (
        lambda p: p.returns.pop("ret_1"),
        *("I13", "claim_1", "its return ret_1 is not there"),
    ),
    "a canceled claim with a live return": (
        lambda p: p.claims["claim_1"].update(status="canceled"),
        *("I13", "claim_1", "the claim is canceled, its return ret_1 is requested"),
    ),
    "a live fulfillment without its goods": (
        lambda p: p.stock_uses.pop("ful_1"),
        *("I17", "ful_1", "its goods were not taken out of stock"),
    ),
    "a live fulfillment whose goods were put back": (
        lambda p: p.stock_uses["ful_1"].update(state="restored"),
        *("I17", "ful_1", "its goods were not taken out of stock"),
    ),
    "a canceled fulfillment that still has its goods": (
        lambda p: p.stock_uses["ful_2"].update(state="consumed"),
        *("I17", "ful_2", "the fulfillment is canceled, but its goods are not back"),
    ),
    "a refused fulfillment that has goods": (
        lambda p: p.stock_uses["ful_4"].update(state="consumed"),
        *("I17", "ful_4", "the fulfillment is refused, but its goods are not back"),
    ),
    "goods taken for nobody's fulfillment": (
        lambda p: p.stock_uses.update(ful_9=_used("consumed")),
        *("I17", "ful_9", "a fulfillment that nobody knows"),
    ),
    "goods taken for another order": (
        lambda p: p.stock_uses["ful_1"].update(order_id="order_9"),
        *("I8", "ful_1", "packed for order_1, but taken for order_9"),
    ),
    "replacement goods whose units orders does not know": (
        lambda p: p.parcels.pop("ful_5"),
        *("I16", "ful_5", "orders does not know their units"),
    ),
    "units of replacement goods that are not packed": (
        lambda p: p.parcels["ful_6"].update(state="recorded"),
        *("I16", "ful_6", "the fulfillment is canceled, but orders still has its units"),
    ),
    "replacement goods that only claims has sent": (
        lambda p: p.parcels["ful_5"].update(state="recorded"),
        *("I16", "ful_5", "disagree on whether replacement goods were sent"),
    ),
    "replacement goods of another claim": (
        lambda p: p.parcels["ful_5"].update(claim_id="claim_9"),
        *("I8", "ful_5", "packed for claim_2, but known of claim_9"),
    ),
    "units of nobody's fulfillment": (
        lambda p: p.parcels.update(ful_9={"claim_id": "claim_9", "state": "recorded"}),
        *("I16", "ful_9", "a fulfillment that nobody knows"),
    ),
    "a canceled order with its reservations": (
        lambda p: p.released_orders.clear(),
        *("I4", "order_2", "its reservations were not released"),
    ),
    "an order released that is not canceled": (
        lambda p: p.canceled_orders.clear(),
        *("I4", "order_2", "orders has not canceled it"),
    ),
    "a return of nobody's claim": (
        lambda p: p.returns.update(ret_9=_return("ret_9", claim_id="claim_9")),
        *("I8", "ret_9", "a claim that nobody knows"),
    ),
}


def test_a_healthy_picture_has_no_findings() -> None:
    assert compare(_healthy()) == []


@pytest.mark.parametrize("sin", SINS)
def test_each_disagreement_of_two_services_is_found_and_named(sin: str) -> None:
    commit, invariant, about, words = SINS[sin]
    picture = _healthy()
    commit(picture)
    told = [(row["invariant"], row["id"]) for row in compare(picture) if words in row["message"]]
    assert told == [(invariant, about)]


def test_stock_that_a_person_released_is_no_finding() -> None:
    picture = _healthy()
    picture.reservations["claim_2"].update(held_units=0, released_units=2, manual_units=2)
    assert compare(picture) == []


@pytest.mark.parametrize("state", ["pending", "canceling"])
@pytest.mark.parametrize("taken", ["consumed", "restored"])
def test_a_fulfillment_under_way_may_be_ahead_of_its_goods(state: str, taken: str) -> None:
    picture = _healthy()
    picture.fulfillments["ful_1"]["state"] = state
    picture.stock_uses["ful_1"]["state"] = taken
    assert compare(picture) == []


@pytest.mark.parametrize("status", ["opening", "canceling"])
def test_a_claim_under_way_may_be_ahead_of_the_others(status: str) -> None:
    picture = _healthy()
    picture.claims["claim_2"]["status"] = status
    picture.remedies["claim_2"]["state"] = "released"
    picture.reservations["claim_2"]["state"] = "released"
    assert compare(picture) == []


def test_goods_that_are_not_kept_in_stock_need_no_booking() -> None:
    picture = _healthy()
    picture.receipt_lines[0]["variant_id"] = None
    picture.stock_receipts.clear()
    assert compare(picture) == []


def _sent(key: str, exchange: str) -> list[dict[str, Any]]:
    return [{"seq": 1, "id": "m1", "exchange": exchange, "routing_key": key}]


def test_a_sent_message_that_nobody_saw_is_lost() -> None:
    sent = _sent("orders.claim-hold.place", COMMANDS)
    assert lost(sent, topology(), {("orders.commands.v1", "m1")}) == []
    (finding,) = lost(sent, topology(), {("inventory.commands.v1", "m1")})
    assert finding == {
        "invariant": "I7",
        "id": "m1",
        "message": "orders.claim-hold.place was sent, but orders.commands.v1 never saw it",
    }


def test_an_event_that_nobody_listens_to_is_not_lost() -> None:
    assert lost(_sent("nobody.listens.v1", EVENTS), topology(), set()) == []


def test_a_seen_message_that_nobody_wrote_is_strange_unless_it_was_unreadable() -> None:
    row = {"consumer": "orders.commands.v1", "type": "reclamo.orders.claim-hold.place"}
    seen = [row | {"message_id": name} for name in ("m1", "m2", "unreadable-00ff")]
    (finding,) = strange(seen, {"m1"})
    assert finding["id"] == "m2"
    assert "orders.commands.v1 saw a reclamo.orders.claim-hold.place" in finding["message"]


# ---- real data: drift that somebody plants -----------------------------------------------------


@dataclass(frozen=True)
class Drift:
    """``change`` breaks what ``about`` selects; the finding is about ``told`` (``about`` unless
    given) and says ``words``."""

    database: str
    about: str
    change: str
    invariant: str
    words: str
    told: str | None = None
    at_rest: bool = False


_REFUNDED = "SELECT id FROM claims WHERE payment_status = 'refunded' ORDER BY id LIMIT 1"
_REPLACED = "SELECT id FROM claims WHERE type = 'replace' AND status = 'open' ORDER BY id LIMIT 1"
_HELD = "SELECT remedy_id FROM reservations WHERE state = 'held' ORDER BY id LIMIT 1"
_CAME = "SELECT id FROM receipts ORDER BY id LIMIT 1"
_ORDER = order_id(1001)
_MUG = line_id(1001, "mug")

DRIFTS: dict[str, Drift] = {
    "a claim says another amount": Drift(
        "claims",
        _REFUNDED,
        "UPDATE claims SET refund_amount = refund_amount + 1 WHERE id = :id",
        *("I2", "refunded 1465 says claims, 1464 says orders"),
    ),
    "a claim was canceled in its own books alone": Drift(
        "claims",
        _REPLACED,
        "UPDATE claims SET status = 'canceled' WHERE id = :id",
        *("I4", "its stock is still reserved"),
    ),
    "a hold was moved to another claim": Drift(
        "orders",
        "SELECT id FROM remedies WHERE kind = 'claim' AND state = 'held' ORDER BY id LIMIT 1",
        "UPDATE remedies SET id = 'claim_else' WHERE id = :id",
        *("I16", "orders holds units for a claim that nobody knows"),
        told="SELECT 'claim_else'",
    ),
    "a claim skipped a version": Drift(
        "claims",
        _REFUNDED,
        "UPDATE claims SET version = version + 1 WHERE id = :id",
        *("I10", "version 4 but 3 events were said"),
    ),
    "an event of an order is gone": Drift(
        "orders",
        f"SELECT '{_ORDER}'",
        "DELETE FROM outbox WHERE aggregatetype = 'order' AND aggregateid = :id",
        *("I10", "but 0 events"),
    ),
    "a remedy has a unit more": Drift(
        "orders",
        f"SELECT remedy_id FROM remedy_lines WHERE line_id = '{_MUG}'",
        "UPDATE remedy_lines SET quantity = quantity + 1 WHERE remedy_id = :id",
        *("I16", f"1 units of {_MUG} are claimed, 2 are held"),
    ),
    "a line counts a remedied unit too many": Drift(
        "orders",
        f"SELECT '{_MUG}'",
        "UPDATE order_lines SET remedied_quantity = remedied_quantity + 1 WHERE id = :id",
        *("I16", "remedied 2, but its remedies say 0, 1"),
    ),
    "a line counts a returned unit too many": Drift(
        "orders",
        f"SELECT '{_MUG}'",
        "UPDATE order_lines SET returned_quantity = returned_quantity + 1 WHERE id = :id",
        *("I16", "returned 1, remedied 1, but"),
    ),
    "a refund was moved to another claim": Drift(
        "orders",
        "SELECT cause_id FROM refunds WHERE cause_kind = 'claim' ORDER BY cause_id LIMIT 1",
        "UPDATE refunds SET cause_id = 'claim_else' WHERE cause_id = :id",
        *("I2", "a claim that nobody knows"),
        told="SELECT 'claim_else'",
    ),
    "a refund without a transfer": Drift(
        "orders",
        "SELECT id FROM refunds WHERE cause_kind = 'claim' ORDER BY id LIMIT 1",
        "DELETE FROM transfers WHERE refund_id = :id",
        *("I2", "transfers say 0"),
    ),
    "a transfer of another amount": Drift(
        "orders",
        f"SELECT '{_ORDER}'",
        "UPDATE transfers SET amount = amount - 1 WHERE order_id = :id AND kind = 'refund'",
        *("I9", "but the ledger says"),
    ),
    "a captured amount that no transfer explains": Drift(
        "orders",
        f"SELECT '{_ORDER}'",
        "UPDATE orders SET captured = captured + 1 WHERE id = :id",
        *("I9", "but the ledger says"),
    ),
    "a booked receipt is gone": Drift(
        "orders",
        _CAME,
        "DELETE FROM receipts WHERE id = :id",
        *("I16", "orders has not booked it"),
    ),
    "an attempt that the provider never saw": Drift(
        "orders",
        "SELECT provider_key FROM refund_attempts WHERE provider_id = 'fake'",
        "UPDATE refund_attempts SET provider_key = provider_key || '_2' WHERE provider_key = :id",
        *("I2", "nobody asked for it"),
    ),
    "an exchange says another difference": Drift(
        "claims",
        "SELECT id FROM claims WHERE type = 'exchange'",
        "UPDATE claims SET difference_due = difference_due + 1 WHERE id = :id",
        *("I9", "the difference is"),
    ),
    "an exchange was paid in its own books alone": Drift(
        "claims",
        "SELECT id FROM claims WHERE type = 'exchange'",
        "UPDATE claims SET payment_status = 'captured' WHERE id = :id",
        *("I9", "disagree on whether the difference was paid"),
    ),
    "the difference of an exchange is gone": Drift(
        "orders",
        "SELECT id FROM exchanges",
        "DELETE FROM exchanges WHERE id = :id",
        *("I9", "orders has not settled its difference"),
    ),
    "a return was canceled in its own books alone": Drift(
        "returns",
        "SELECT id FROM returns WHERE state = 'requested' AND claim_id IS NULL",
        "UPDATE returns SET state = 'canceled', status = 'canceled' WHERE id = :id",
        *("I13", "the return is canceled, but orders still holds its units"),
    ),
    "a return received more than came": Drift(
        "returns",
        "SELECT id FROM returns WHERE state = 'requires_action'",
        "UPDATE return_items SET received_quantity = received_quantity + 1 WHERE return_id = :id",
        *("I5", "shows 2, came 1"),
    ),
    "the return of a claim lost its claim": Drift(
        "returns",
        "SELECT claim_id FROM returns WHERE claim_id IS NOT NULL",
        "UPDATE returns SET claim_id = 'claim_else' WHERE claim_id = :id",
        *("I13", "is not there"),
    ),
    "a receipt says another amount": Drift(
        "returns",
        _CAME,
        "UPDATE receipts SET refund_amount = refund_amount + 1 WHERE id = :id",
        *("I2", "refunded 2929 says returns, 2928 says orders"),
    ),
    "a reservation was freed under a live claim": Drift(
        "inventory",
        _HELD,
        "UPDATE reservations SET state = 'released', release_cause = 'command'"
        " WHERE remedy_id = :id",
        *("I4", "1 of its units were released"),
    ),
    "a reservation was released under a live claim": Drift(
        "inventory",
        _HELD,
        "UPDATE reservation_groups SET state = 'released' WHERE remedy_id = :id",
        *("I4", "the claim is open, but inventory holds nothing for it"),
    ),
    "a level reserves too much": Drift(
        "inventory",
        "SELECT item_id FROM reservations WHERE state = 'held'",
        "UPDATE levels SET reserved = reserved + 1 WHERE item_id = :id",
        *("I1", "reserved differs from the sum of what is held: reserved 2, held 1"),
        told="SELECT item_id || ' at ' || location_id FROM reservations WHERE state = 'held'",
    ),
    "stock came without a movement": Drift(
        "inventory",
        "SELECT item_id FROM movements WHERE cause_kind = 'receipt' ORDER BY id LIMIT 1",
        "UPDATE levels SET on_hand = on_hand + 1 WHERE item_id = :id",
        *("I17", "what is on hand differs from the sum of the movements"),
        told="SELECT item_id || ' at ' || location_id FROM movements"
        " WHERE cause_kind = 'receipt' ORDER BY id LIMIT 1",
    ),
    "a receipt moved stock twice": Drift(
        "inventory",
        _CAME,
        "INSERT INTO movements (cause_kind, cause_id, line_no, item_id, location_id, quantity,"
        " created_at) SELECT cause_kind, cause_id, 99, item_id, location_id, quantity, created_at"
        " FROM movements WHERE cause_kind = 'receipt' AND cause_id = :id",
        *("I17", "1 units came, 2 went into stock"),
    ),
    "a receipt was never booked into stock": Drift(
        "inventory",
        _CAME,
        "UPDATE receipts SET state = 'rejected' WHERE id = :id",
        *("I17", "the receipt is settled, but inventory has not booked it"),
    ),
    "a sent message was never seen": Drift(
        "inventory",
        "SELECT message_id FROM inbox ORDER BY message_id LIMIT 1",
        "DELETE FROM inbox WHERE message_id = :id",
        *("I7", "was sent, but inventory.commands.v1 never saw it"),
    ),
    "somebody saw a message that nobody wrote": Drift(
        "claims",
        "SELECT 'message_else'",
        "UPDATE inbox SET message_id = :id WHERE message_id = (SELECT MIN(message_id) FROM inbox)",
        *("I7", "that nobody wrote"),
    ),
    "a message was never sent": Drift(
        "returns",
        "SELECT id FROM outbox ORDER BY id LIMIT 1",
        "UPDATE outbox SET sent_at = NULL WHERE id = :id",
        *("I15", "unsent message"),
        at_rest=True,
    ),
    "a message is dead": Drift(
        "orders",
        "SELECT message_id FROM inbox ORDER BY message_id LIMIT 1",
        "UPDATE inbox SET state = 'dead', error = 'it hurt' WHERE message_id = :id",
        *("I15", "(dead): it hurt"),
        at_rest=True,
    ),
    "a saga hangs": Drift(
        "claims",
        "SELECT id FROM sagas ORDER BY id LIMIT 1",
        "UPDATE sagas SET direction = 'forward' WHERE id = :id",
        *("I15", "saga under way"),
        at_rest=True,
    ),
    "an attempt has no answer": Drift(
        "orders",
        "SELECT refund_id FROM refund_attempts ORDER BY refund_id LIMIT 1",
        "UPDATE refund_attempts SET state = 'unknown' WHERE refund_id = :id",
        *("I15", "refund attempt unknown after"),
        at_rest=True,
    ),
}


async def _look(settings: GatewaySettings, *, at_rest: bool = False) -> Report:
    return await verify(settings, at_rest=at_rest, look_again_after_s=0.01)


async def _plant(settings: GatewaySettings, drift: Drift) -> tuple[str, str]:
    """Break something; (invariant, id) of the finding that this must give."""
    database = connect(settings.database_url(drift.database))
    await database.open()
    try:
        async with database.transaction() as tx:
            told = await tx.fetch_value(drift.told) if drift.told else None
            about = await tx.fetch_value(drift.about)
            assert about, "the demo data has nothing of the kind"
            assert await tx.execute(drift.change, id=about)
    finally:
        await database.close()
    return drift.invariant, str(told or about)


def _told(report: Report, words: str) -> set[tuple[str, str]]:
    return {(each.invariant, each.id) for each in report.findings if words in each.message}


@pytest.mark.parametrize("name", DRIFTS)
async def test_planted_drift_is_found_and_named(seeded: GatewaySettings, name: str) -> None:
    drift = DRIFTS[name]
    expected = await _plant(seeded, drift)
    report = await _look(seeded, at_rest=drift.at_rest)
    assert expected in _told(report, drift.words), report.findings


async def test_a_seeded_installation_is_sound_also_at_rest(seeded: GatewaySettings) -> None:
    for at_rest in (False, True):
        report = await _look(seeded, at_rest=at_rest)
        assert report.findings == []
    assert report.looked_at["claims"] == 6
    assert report.looked_at["returns"] == 6
    assert report.looked_at["messages"] > 50
    assert report.summary.endswith("nothing found.")


async def test_what_was_mended_is_no_finding_any_more(seeded: GatewaySettings) -> None:
    untouched = seeded.data_dir.with_name("untouched")
    shutil.copytree(seeded.data_dir, untouched)
    for name, drift in DRIFTS.items():
        await _plant(seeded, drift)
        report = await _look(seeded, at_rest=True)
        assert report.findings, name
        for file in seeded.data_dir.glob(f"{drift.database}.db*"):
            file.unlink()
        shutil.copy(untouched / f"{drift.database}.db", seeded.data_dir)
    assert (await _look(seeded, at_rest=True)).findings == []


async def test_a_provider_that_paid_without_being_asked_is_found(seeded: GatewaySettings) -> None:
    ledger = sqlite3.connect(seeded.data_dir / "fake_provider.sqlite3")
    ledger.execute(
        "INSERT INTO refunds (key, ref, payment_id, amount, currency_code, cause_id)"
        " VALUES ('rf_else', 'fake_else', 'pay_else', 900, 'eur', 'cause_else')"
    )
    ledger.commit()
    ledger.close()
    (finding,) = (await _look(seeded)).findings
    assert (finding.invariant, finding.id) == ("I2", "rf_else")
    assert finding.message == "the provider refunded, but nobody asked for it"


async def test_a_provider_that_paid_another_amount_is_found(seeded: GatewaySettings) -> None:
    ledger = sqlite3.connect(seeded.data_dir / "fake_provider.sqlite3")
    ledger.execute("UPDATE refunds SET amount = amount + 1")
    ledger.commit()
    ledger.close()
    (finding,) = (await _look(seeded)).findings
    assert finding.invariant == "I2"
    assert finding.message == "asked for 500, refunded 501"


async def test_verify_changes_nothing(seeded: GatewaySettings) -> None:
    before = {name: _dump(seeded, name) for name in PROCESSES}
    await _look(seeded, at_rest=True)
    assert {name: _dump(seeded, name) for name in PROCESSES} == before


def _dump(settings: GatewaySettings, name: str) -> str:
    with sqlite3.connect(settings.data_dir / f"{name}.db") as connection:
        return "\n".join(connection.iterdump())


async def test_the_same_drift_is_found_on_postgresql(
    postgres_url_factory: DatabaseUrl, tmp_path: Path
) -> None:
    databases = {name: await postgres_url_factory(name) for name in PROCESSES}
    settings = GatewaySettings(data_dir=tmp_path, databases=databases, admin_token=TOKEN)
    async with (
        running(settings, load(settings)) as embedded,
        serving(embedded) as url,
        Gateway(url, TOKEN) as gateway,
    ):
        await seed(gateway, password=PASSWORD)
        # What the last answer left behind is still on its way.
        assert (await verify(settings)).findings == []

    assert (await _look(settings, at_rest=True)).findings == []
    planted = [
        (name, await _plant(settings, DRIFTS[name]))
        for name in (
            "a claim says another amount",
            "an event of an order is gone",
            "a line counts a returned unit too many",
            "a captured amount that no transfer explains",
            "a booked receipt is gone",
            "a return received more than came",
            "a level reserves too much",
            "a receipt moved stock twice",
            "a sent message was never seen",
            "somebody saw a message that nobody wrote",
            "a message was never sent",
            "a message is dead",
            "a saga hangs",
        )
    ]
    report = await _look(settings, at_rest=True)
    for name, expected in planted:
        assert expected in _told(report, DRIFTS[name].words), name


# ---- under load, and at scale ------------------------------------------------------------------


async def _work(url: str, client: int, enough: asyncio.Event) -> int:
    """Open, cancel, return and receive on the demo orders until told to stop; calls made."""
    calls = 0
    async with Gateway(url, TOKEN) as gateway:
        while not enough.is_set():
            number = f"{client}-{calls}"
            order = f"order_load_{number}"
            kettle = [{"variant_id": variant_id("wrapping"), "quantity": 1}]
            answer = await gateway.post("/admin/import", {"orders": [_order(order)]})
            assert answer["refusals"] == []
            one = {"item_id": f"{order}_line", "quantity": 1}
            await gateway.post(
                f"/admin/orders/{order}/claims",
                {"type": "refund", "claim_items": [one | {"reason": "other"}]},
                f"{number}-refund",
            )
            answer = await gateway.post(
                f"/admin/orders/{order}/claims",
                {
                    "type": "replace",
                    "claim_items": [one | {"reason": "other"}],
                    "additional_items": [{"variant_id": variant_id("mug"), "quantity": 1}, *kettle],
                },
                f"{number}-replace",
            )
            opened = [each for each in answer["order"]["claims"] if each["type"] == "replace"]
            cancel = f"/admin/orders/{order}/claims/{opened[0]['id']}/cancel"
            await gateway.post(cancel, {}, f"{number}-cancel")
            answer = await gateway.post(
                f"/admin/orders/{order}/return", {"items": [one]}, f"{number}-return"
            )
            receive = f"/admin/returns/{answer['order']['returns'][0]['id']}/receive"
            await gateway.post(receive, {"items": [one]}, f"{number}-receive")
            calls += 1
    return calls


def _order(order: str) -> dict[str, Any]:
    return {
        "id": order,
        "display_id": 5000,
        "email": "ana@reclamo.example",
        "customer_id": "cus_demo_ana",
        "region_id": "reg_demo",
        "sales_channel_id": "sc_demo",
        "currency_code": "eur",
        "created_at": "2026-01-02T03:04:05Z",
        "items": [
            {
                "id": f"{order}_line",
                "variant_id": variant_id("mug"),
                "title": "Stoneware mug",
                "unit_price": 1200,
                "quantity": 6,
                "fulfilled_quantity": 6,
                "shipped_quantity": 6,
            }
        ],
        "payments": [
            {
                "id": f"{order}_pay",
                "provider_id": "manual",
                "amount": 7200,
                "captured_at": "2026-01-02T03:04:05Z",
            }
        ],
    }


async def test_eight_clients_at_work_are_no_findings(seeded: GatewaySettings) -> None:
    async with up(seeded.data_dir) as system:
        enough = asyncio.Event()
        clients = [asyncio.create_task(_work(system.url, n, enough)) for n in range(8)]
        looked_at = []
        for _ in range(3):
            run = await asyncio.to_thread(reclamo, "verify", "--json", data_dir=seeded.data_dir)
            report = json.loads(run.stdout)
            assert report["findings"] == []
            assert run.returncode == 0
            looked_at.append(report["looked_at"]["messages"])
        enough.set()
        assert min(await asyncio.gather(*clients)) >= 1
        assert looked_at[0] < looked_at[-1]

        async def at_rest() -> bool:
            return not (await _look(seeded, at_rest=True)).findings

        await eventually(at_rest)


_MEASURED = """
import atexit, pathlib, sys
from deploy.cli import main

def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    print(status.split("VmHWM:")[1].split()[0], file=sys.stderr)

atexit.register(peak)
main()
"""


async def test_a_hundred_thousand_messages_are_never_in_memory_together(
    seeded: GatewaySettings,
) -> None:
    _add_messages(seeded, 100_000)
    run = await asyncio.to_thread(
        reclamo,
        *("verify", "--json"),
        command=(sys.executable, "-c", _MEASURED),
        data_dir=seeded.data_dir,
    )
    report = json.loads(run.stdout)
    assert report["findings"] == []
    assert report["looked_at"]["messages"] > 100_000
    assert int(run.stderr) < 150_000, "kilobytes, of which the code takes 90,000"


def _add_messages(settings: GatewaySettings, count: int) -> None:
    """Commands that claims sent and orders saw."""
    with sqlite3.connect(settings.data_dir / "claims.db") as claims:
        claims.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
            " INSERT INTO outbox (id, aggregatetype, aggregateid, type, exchange, routing_key,"
            " payload, created_at, sent_at) SELECT 'many-' || i, 'claim', 'claim_' || i,"
            " 'reclamo.orders.claim-hold.place', ?, 'orders.claim-hold.place', '{}',"
            " '2026-01-01T00:00:00+00:00', '2026-01-01T00:00:00+00:00' FROM n",
            (count, COMMANDS),
        )
    with sqlite3.connect(settings.data_dir / "orders.db") as orders:
        orders.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
            " INSERT INTO inbox (consumer, message_id, type, partitionkey, state, received_at)"
            " SELECT 'orders.commands.v1', 'many-' || i, 'reclamo.orders.claim-hold.place',"
            " 'claim/claim_' || i, 'done', '2026-01-01T00:00:00+00:00' FROM n",
            (count,),
        )


# ---- the command -------------------------------------------------------------------------------


async def test_the_command_says_nothing_on_stdout_when_all_is_well(
    seeded: GatewaySettings,
) -> None:
    run = await asyncio.to_thread(reclamo, "verify", "--at-rest", data_dir=seeded.data_dir)
    assert (run.returncode, run.stdout) == (0, "")
    assert run.stderr.startswith("Looked at 6 claims, 6 returns")
    assert "nothing found" in run.stderr


async def test_the_command_names_each_finding_and_ends_with_1(seeded: GatewaySettings) -> None:
    drift = DRIFTS["a claim says another amount"]
    invariant, about = await _plant(seeded, drift)
    run = await asyncio.to_thread(reclamo, "verify", data_dir=seeded.data_dir)
    assert run.returncode == 1
    assert run.stdout == f"{invariant}  {about}  {drift.words}\n"
    assert "1 finding." in run.stderr.replace("\n", " ")

    run = await asyncio.to_thread(reclamo, "verify", "--json", data_dir=seeded.data_dir)
    assert run.returncode == 1
    said = json.loads(run.stdout)
    assert said["findings"] == [{"invariant": invariant, "id": about, "message": drift.words}]
    assert set(said["looked_at"]) == {
        *("claims", "returns", "remedies", "refunds", "reservations", "messages"),
    }


async def test_a_folder_without_data_is_not_called_sound(tmp_path: Path) -> None:
    run = await asyncio.to_thread(reclamo, "verify", data_dir=tmp_path / "nothing")
    assert (run.returncode, run.stdout) == (2, "")
    assert "does not exist" in run.stderr
    assert "RECLAMO_DATA_DIR" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://localhost/orders", "cannot use a database URL that begins with 'mysql'"),
        ("postgresql://nobody:nothing@127.0.0.1:1/orders", "cannot be reached"),
    ],
)
async def test_a_database_that_cannot_be_read_is_one_line_and_exit_code_2(
    seeded: GatewaySettings, url: str, words: str
) -> None:
    run = await asyncio.to_thread(
        reclamo, "verify", data_dir=seeded.data_dir, orders_database_url=url
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert words in run.stderr.replace("\n", " ")
    assert "Traceback" not in run.stderr


async def test_a_schema_that_is_behind_is_named(seeded: GatewaySettings) -> None:
    with sqlite3.connect(seeded.data_dir / "returns.db") as returns:
        returns.execute("UPDATE alembic_version SET version_num = '0000'")
    run = await asyncio.to_thread(reclamo, "verify", data_dir=seeded.data_dir)
    assert run.returncode == 2
    assert "reclamo migrate returns" in run.stderr.replace("\n", " ")


def test_every_service_is_looked_at() -> None:
    assert {drift.database for drift in DRIFTS.values()} == set(SERVICES)
