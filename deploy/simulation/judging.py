"""At rest: what clients asked and were told, against what the services hold."""

from __future__ import annotations

from deploy.simulation.acts import JUDGES, SWEEPS
from deploy.simulation.books import Books
from deploy.simulation.clients import History


def audit(history: History, books: Books) -> list[str]:
    """What was lost, doubled, or came from nowhere; and every answer that turned out untrue."""
    wrong = list(history.wrong)
    keys = {call.key for call in history.calls}
    for service, taken in books.subjects.items():
        wrong += [
            f"{service} knows the key {key}, which nobody sent" for key in taken.keys() - keys
        ]
    for call in history.calls:
        judge = JUDGES.get(call.takes)
        if judge is not None and call.status:
            wrong += [f"{call.kind} {call.key}: {what}" for what in judge(call, books, history)]
    made = {subject for taken in books.subjects.values() for subject in taken.values()}
    wrong += [f"nobody asked for claim {id_}" for id_ in books.claims.keys() - made]
    wrong += [
        f"nobody asked for return {id_}"
        for id_, row in books.returns.items()
        if id_ not in made and row["claim_id"] is None
    ]
    for sweep in SWEEPS:
        wrong += sweep(books, history)
    return sorted(wrong)
