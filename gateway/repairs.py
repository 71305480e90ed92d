"""What a finding calls for: a table from cases to proposals. Pure.

Safe is what only repeats something idempotent: a message with its old id, a release of what a dead
claim or return holds, a timer. Everything else is described, and a person decides.
"""

from __future__ import annotations

from dataclasses import dataclass

RESEND = "resend"  # the one message that never arrived
RESEND_ABOUT = "resend_about"  # all that was said about the subject
RELEASE = "release"  # the release command of a dead claim or return
WAKE = "wake"  # the timer of a saga


@dataclass(frozen=True)
class Proposal:
    """``repair`` is None where a person has to decide; ``advice`` says what to do or to look at."""

    repair: str | None
    advice: str


# (invariant, words of the message) -> proposal; the first that fits.
_CASES: tuple[tuple[str, str, Proposal], ...] = (
    (
        "I7",
        "was sent, but",
        Proposal(RESEND, "Send the message again: who has seen it drops the repeat."),
    ),
    (
        "I6",
        "its timer",
        Proposal(WAKE, "Let the saga's timer come due: it asks again with the same ids."),
    ),
    (
        "I13",
        "orders still holds its units",
        Proposal(RELEASE, "Send the release of the dead claim's or return's hold again."),
    ),
    (
        "I4",
        "its stock is still reserved",
        Proposal(RELEASE, "Send the release of the dead claim's reservation again."),
    ),
    (
        "I17",
        "but its goods are not back",
        Proposal(RELEASE, "Ask again that the goods of the dead fulfillment are put back."),
    ),
    (
        "I16",
        "orders still has its units",
        Proposal(RELEASE, "Ask again that the units of the dead fulfillment are withdrawn."),
    ),
    (
        "I16",
        "orders does not know their units",
        Proposal(
            None,
            "Mend lost messages first (I7). If it stays: cancel the fulfillment and pack the"
            " goods again, so that their units can be claimed and returned.",
        ),
    ),
    (
        "I4",
        "its reservations were not released",
        Proposal(RELEASE, "Ask again that the reservations of the canceled order are released."),
    ),
    (
        "I2",
        "claims does not know",
        Proposal(
            RESEND_ABOUT,
            "Send again what was said about the claim; if it stays, claims was"
            " told and has lost it: compare its database with the newest backup.",
        ),
    ),
    (
        "I9",
        "the difference",
        Proposal(
            None,
            "Mend lost messages first (I7). If it stays: what orders says of the difference is"
            " what moved; pay or refund the rest by hand.",
        ),
    ),
    (
        "I14",
        "",
        Proposal(
            None,
            "Change nothing. Keep a copy of the database, compare it with backups, and"
            " find out who wrote to it: `reclamo audit verify` names the first broken record.",
        ),
    ),
    (
        "I7",
        "that nobody wrote",
        Proposal(
            None,
            "A sender's database is older than its messages (a restored backup?), or"
            " somebody else publishes: check the broker's users.",
        ),
    ),
    (
        "I6",
        "",
        Proposal(
            None,
            "Nobody works on it any more: look at `reclamo audit list --about` and its"
            " sagas, then cancel it by hand or restore its row.",
        ),
    ),
    (
        "I10",
        "",
        Proposal(
            None,
            "Events are missing or doubled: who listens outside should read the object"
            " anew; then restore the outbox rows or the version from a backup.",
        ),
    ),
    (
        "I16",
        "orders holds nothing for it",
        Proposal(
            None,
            "Mend lost messages first (I7). If it stays: cancel the claim or return and"
            " open it again, so that its units are held.",
        ),
    ),
    (
        "I2",
        "",
        Proposal(
            None,
            "Money differs: compare the order's ledger with the provider's account, then"
            " correct by a refund by hand, never by editing a row.",
        ),
    ),
    (
        "I3",
        "",
        Proposal(
            None,
            "More went back than came: stop refunds of this order and reconcile its"
            " ledger with the provider.",
        ),
    ),
    (
        "I9",
        "is still owed says",
        Proposal(
            None,
            "Mend lost messages first (I7). If it stays: look at the order's ledger, which"
            " decides, and settle the return by hand.",
        ),
    ),
    (
        "I9",
        "credit memo",
        Proposal(
            None,
            "Documents and their numbers are not changed: restore the row from a backup, or"
            " have the gap explained to whoever audits.",
        ),
    ),
    (
        "I9",
        "",
        Proposal(
            None,
            "The figures on the order are not those of its ledger: the transfers are the"
            " truth; restore the figure from their sum.",
        ),
    ),
    (
        "I1",
        "",
        Proposal(None, "Count the shelf, then set the level: that books the difference."),
    ),
    (
        "I17",
        "",
        Proposal(None, "Count the shelf, then set the level: that books the difference."),
    ),
)
_OTHERWISE = Proposal(
    None, "Look at its history (`reclamo audit list --about`) and decide which side is right."
)


def propose(*, invariant: str, message: str) -> Proposal:
    """What a finding calls for."""
    for case, words, proposal in _CASES:
        if case == invariant and words in message:
            return proposal
    return _OTHERWISE
