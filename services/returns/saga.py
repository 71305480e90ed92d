"""What happens next: the three sagas of a return, as tables. Pure.

saga            step      do                    undo                replies
return-request  hold      PlaceReturnHold       ReleaseReturnHold   placed | rejected
return-receipt  stock     ReceiveReceiptStock   -                   received | rejected
                settle    SettleReturnReceipt   -                   settled (cannot be refused)
return-cancel   release   ReleaseReturnHold     -                   released

Stock comes before money because stock can refuse and money cannot be taken back.
A step without an undo is asked until it answers: there is no deadline after which to give up.
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
    PlaceReturnHold,
    ReleaseReturnHold,
    ReturnHoldPlaced,
    ReturnHoldRejected,
    ReturnHoldReleased,
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
    )


def _release_hold(facts: Facts) -> ReleaseReturnHold:
    return ReleaseReturnHold(return_id=facts["return_id"], order_id=facts["order_id"])


def _stocked(facts: Facts) -> list[ReceivedLine]:
    """The lines whose goods can be stock: those of a variant."""
    return [ReceivedLine(**line) for line in facts["lines"] if line["variant_id"] is not None]


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
    )


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
            name="stock",
            do=_receive_stock,
            done=ReceiptStockReceived,
            refused=ReceiptStockRejected,
            pivot=True,
        ),
        Step(name="settle", do=_settle_receipt, done=ReturnReceiptSettled, pivot=True),
    ),
    plan=lambda facts: (("stock",), ("settle",)) if _stocked(facts) else (("settle",),),
)

RETURN_CANCEL = SagaTable(
    kind="return-cancel",
    steps=(Step(name="release", do=_release_hold, done=ReturnHoldReleased, pivot=True),),
    plan=lambda facts: (("release",),),
)

SAGAS = {table.kind: table for table in (RETURN_REQUEST, RETURN_RECEIPT, RETURN_CANCEL)}
