"""What happens next: the sagas of a return, as tables. Pure.

saga            step      do                    undo                replies
return-request  hold      PlaceReturnHold       ReleaseReturnHold   placed | rejected
return-receipt  check     CheckReturnReceipt    -                   checked | rejected
                stock     ReceiveReceiptStock   -                   received | rejected
                settle    SettleReturnReceipt   -                   settled (cannot be refused)
return-cancel   release   ReleaseReturnHold     -                   released
return-close    release   ReleaseReturnHold     -                   released

Only units that nobody announced are checked. Stock comes before money because stock can refuse and
money cannot be taken back. A step without an undo is asked until it answers: there is no deadline
after which to give up.
"""

from __future__ import annotations

from chassis.sagas import Facts, SagaTable, Step
from contracts.inventory import (
    ReceiptStockReceived,
    ReceiptStockRejected,
    ReceivedLine,
    ReceiveReceiptStock,
)
from contracts.orders import (
    CheckReturnReceipt,
    PlaceReturnHold,
    ReleaseReturnHold,
    ReturnHoldPlaced,
    ReturnHoldRejected,
    ReturnHoldReleased,
    ReturnReceiptChecked,
    ReturnReceiptRejected,
    ReturnReceiptSettled,
    SettleReturnReceipt,
)


def _place_hold(facts: Facts) -> PlaceReturnHold:
    return PlaceReturnHold(
        return_id=facts["return_id"],
        order_id=facts["order_id"],
        lines=facts["lines"],
        refund=facts["refund"],
        return_shipping=facts["return_shipping"],
        refund_to=facts.get("refund_to") or "payment",
    )


def _release_hold(facts: Facts) -> ReleaseReturnHold:
    return ReleaseReturnHold(return_id=facts["return_id"], order_id=facts["order_id"])


def _check_receipt(facts: Facts) -> CheckReturnReceipt:
    return CheckReturnReceipt(
        receipt_id=facts["receipt_id"],
        return_id=facts["return_id"],
        order_id=facts["order_id"],
        lines=[
            {"line_id": line_id, "quantity": units}
            for line_id, units in facts["unannounced"].items()
        ],
    )


def _stocked(facts: Facts) -> list[ReceivedLine]:
    """The goods that can be sold again: undamaged units of a variant."""
    told = {line["line_id"]: line["variant_id"] for line in facts.get("check", {}).get("lines", ())}
    lines = [
        ReceivedLine(
            line_no=line["line_no"],
            line_id=line["line_id"],
            variant_id=line["variant_id"] or told.get(line["line_id"]),
            quantity=line["quantity"] - line.get("damaged_quantity", 0),
        )
        for line in facts["lines"]
    ]
    return [line for line in lines if line.variant_id is not None and line.quantity]


def _receive_stock(facts: Facts) -> ReceiveReceiptStock:
    return ReceiveReceiptStock(
        receipt_id=facts["receipt_id"],
        return_id=facts["return_id"],
        location_id=facts["location_id"],
        lines=_stocked(facts),
    )


def _settle_receipt(facts: Facts) -> SettleReturnReceipt:
    return SettleReturnReceipt(
        receipt_id=facts["receipt_id"],
        return_id=facts["return_id"],
        claim_id=facts["claim_id"],
        order_id=facts["order_id"],
        lines=facts["lines"],
        refund=facts["refund"],
        settle_owed=facts.get("settle_owed", False),
        refund_to=facts.get("refund_to"),
    )


def _receipt_stages(facts: Facts) -> tuple[tuple[str, ...], ...]:
    if facts.get("unannounced"):
        return ("check",), ("stock",), ("settle",)
    return (("stock",), ("settle",)) if _stocked(facts) else (("settle",),)


RETURN_REQUEST = SagaTable(
    kind="return-request",
    steps=(
        Step(
            name="hold",
            do=_place_hold,
            done=ReturnHoldPlaced,
            refused=ReturnHoldRejected,
            undo=_release_hold,
            undone=ReturnHoldReleased,
        ),
    ),
    plan=lambda facts: (("hold",),),
)

RETURN_RECEIPT = SagaTable(
    kind="return-receipt",
    steps=(
        Step(
            name="check",
            do=_check_receipt,
            done=ReturnReceiptChecked,
            refused=ReturnReceiptRejected,
            pivot=True,
        ),
        Step(
            name="stock",
            do=_receive_stock,
            done=ReceiptStockReceived,
            refused=ReceiptStockRejected,
            pivot=True,
        ),
        Step(name="settle", do=_settle_receipt, done=ReturnReceiptSettled, pivot=True),
    ),
    plan=_receipt_stages,
)

RETURN_CANCEL = SagaTable(
    kind="return-cancel",
    steps=(Step(name="release", do=_release_hold, done=ReturnHoldReleased, pivot=True),),
    plan=lambda facts: (("release",),),
)

RETURN_CLOSE = SagaTable(
    kind="return-close",
    steps=(Step(name="release", do=_release_hold, done=ReturnHoldReleased, pivot=True),),
    plan=lambda facts: (("release",),),
)

SAGAS = {
    table.kind: table for table in (RETURN_REQUEST, RETURN_RECEIPT, RETURN_CANCEL, RETURN_CLOSE)
}
