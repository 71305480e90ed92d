"""The cases of Medusa's own tests (M) and the defects of the original (D), each with what it is.

A test shows a case by naming its id in its docstring; ``test_cases.py`` finds what nobody shows.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

CASES = {
    # claims over HTTP
    "M06": "a replacement whose way costs nothing",
    "M09": "a refund claim that sends something too",
    "M10": "a claim on an order that has claims",
    "M12": "a replacement against a return",
    "M18": "a claim on what a swap sent",
    "M21": "a replacement of more than is in stock",
    "M22": "a replacement with a shipping method of its own",
    "M24": "a type that is none",
    "M25": "a reason that is none",
    "M26": "a claim canceled under another order",
    "M27": "a fulfillment canceled under another claim",
    "M28": "a claim's fulfillment canceled under another order",
    # rules of claims
    "M29": "a refund claim with return and additional item: return, reservation, event",
    "M30": "no return shipping, no return",
    "M31": "a replacement without additional items",
    "M32": "a replacement with a refund amount",
    "M33": "a claim of nothing",
    "M34": "no_notification given, and inherited",
    "M35": "the refund of one shipped item",
    "M36": "the refund of a shipped item beside a pending one",
    "M37": "the refund of two shipped items",
    "M38": "the refund of an earlier claim's item",
    "M39": "an unknown line is refused",
    "M40": "a claim is fulfilled whole",
    "M41": "a claim without a shipping method is not fulfilled",
    "M42": "a canceled claim is not fulfilled",
    "M43": "a fulfilled claim is not fulfilled again",
    "M44": "a refund claim is not fulfilled",
    "M45": "a claim's fulfillment is canceled",
    "M46": "a canceled claim is not refunded",
    "M47": "a claim is shipped with tracking",
    "M48": "a canceled claim is not shipped",
    "M49": "a canceled claim is not updated",
    "M50": "a claim with a live fulfillment is not canceled",
    "M51": "a claim with an open return is not canceled",
    "M52": "a refunded claim is not canceled",
    "M53": "tags and images are stored, tags trimmed and in lower case",
    "M54": "more than fulfilled is not claimed",
    "M55": "a claim item needs a known reason",
    # returns
    "M56": "the refund of a return in the old tax system",
    "M57": "the refund of a return with tax lines",
    "M59": "the refund less a taxed label",
    "M63": "the list of returns counts all",
    "M64": "inclusive and exclusive prices in the old tax system",
    "M65": "inclusive and exclusive prices with tax lines",
    "M66": "a label whose price includes tax",
    "M67": "a discounted line with reason and note",
    "M69": "received at once, counted goods",
    "M70": "received at once, goods that are not counted",
    "M71": "many pieces in two receipts",
    "M72": "requested, captured, received",
    "M74": "the return of a claim's new item",
    "M75": "the return of a swap's new item",
    "M76": "a return from the storefront",
    "M78": "a leaf reason from the storefront",
    "M79": "a quantity of 0 from the storefront",
    "M80": "an order discount and an item without discounts",
    "M82": "everything is received",
    "M83": "an extra line in the parcel",
    "M84": "a canceled return is not received",
    "M85": "a received return is not canceled",
    "M87": "a negative refund at the request",
    "M88": "no_notification of a return given, and inherited",
    "M89": "a receipt without a refund takes the stored one",
    "M90": "the order of a receipt of everything",
    "M91": "a refund given at the receipt",
    "M92": "a canceled order takes nothing back",
    # orders
    "M93": "an order with a refund is not canceled",
    "M94": "a canceled order gives its stock back",
    "M97": "a refund by hand",
    "M98": "a refund over several payments",
    "M99": "refunds that are refused",
    "M100": "a status that is none in a list",
    "M102": "a list by two statuses",
    "M103": "a list by search",
    "M104": "a list by date",
    "M106": "returnable items on request",
    "M107": "fulfillment whole, in part, canceled",
    "M108": "shipment, and of a canceled order",
    "M109": "more than bought is not fulfilled",
    "M110": "a canceled fulfillment is not shipped",
    "M111": "a fulfillment of another order",
    "M112": "refund totals with discounts, and of a foreign line",
    # inventory, reasons, notes, jobs
    "M115": "a reservation above what its line needs",
    "M116": "the filters of reservations",
    "M117": "reservations with line and item",
    "M118": "a reservation moved, fulfilled elsewhere",
    "M119": "fulfilled, canceled, fulfilled",
    "M120": "a part reserved and fulfilled",
    "M121": "two reservations fulfilled at once",
    "M123": "reservations at two places, fulfilled at one",
    "M126": "a level created, updated, deleted",
    "M127": "a level below 0",
    "M128": "an item with its levels",
    "M129": "a location deleted with what it held",
    "M130": "a reservation where there is no level",
    "M131": "return reasons, nested, updated, listed",
    "M134": "return reasons in the storefront",
    "M135": "notes",
    "M136": "batch jobs",
    "M137": "the list of swaps",
    "M138": "whoever hears an event finds what it names",
    # defects
    "D1": "the client's key is ignored",
    "D2": "a key fits any request of anybody",
    "D3": "two requests with one key both run",
    "D4": "a refund claim's return pays again",
    "D5": "a replacement's return pays",
    "D6": "a claim forgets discounts",
    "D7": "unshipped goods count as refunded",
    "D8": "a claim whose refund failed cannot be canceled",
    "D9": "the same refund again",
    "D10": "units are claimed without a limit",
    "D11": "quantities and amounts below 0",
    "D12": "a replacement's reservation belongs to no line",
    "D13": "a claim's cancel keeps its stock",
    "D14": "a receipt counts what was announced",
    "D15": "a second parcel is refused",
    "D16": "units are announced twice",
    "D17": "received at once means: no money",
    "D18": "a receipt whose money is blocked says nothing",
    "D19": "children of other parents",
    "D20": "cents get lost in shares",
    "D21": "money that was never captured is refundable",
    "D22": "refunds do not show in the payment status",
    "D23": "levels forget all but ten reservations",
    "D24": "stock is read, added, saved",
    "D25": "a changed reservation is not shown",
    "D26": "anybody opens returns",
    "D27": "canceled again and again",
    "D28": "a wrong reason is our fault",
    "D29": "stock goes below nothing",
    "D30": "unknown items are dropped in silence",
}
# Not here: M113 needs a cart, and what M86 refuses (fulfilling and updating a return) has no door.

_LABEL = re.compile(r"\b([MD][1-9]\d{0,2}|M0\d)\b")


def shown(folder: Path) -> dict[str, list[str]]:
    """Id -> the tests below the folder whose docstring (or that of their class or file) names it.

    A file counts as a test of what its own docstring names.
    """
    found = defaultdict(list)
    for path in sorted(folder.rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                where = f"{path.relative_to(folder).as_posix()}::{getattr(node, 'name', '')}"
                for label in _LABEL.findall(ast.get_docstring(node) or ""):
                    found[label].append(where.removesuffix("::"))
    return dict(found)


if __name__ == "__main__":
    for label, tests in shown(Path(__file__).parents[1]).items():
        print(label, CASES.get(label, ""), *tests, sep="\n    ")
