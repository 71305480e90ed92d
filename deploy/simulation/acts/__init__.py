"""What clients do, how often, and how each thing is judged in the end: a file per noun."""

from __future__ import annotations

from collections.abc import Callable

from deploy.simulation.acts import claims, exchanges, goods, inquiries, keys, money, returns
from deploy.simulation.books import Books
from deploy.simulation.clients import Act, Call, History

# An act is drawn as often as it stands here.
ACTS: tuple[Act, ...] = (
    *(claims.open_one,) * 5,
    *(claims.cancel,) * 2,
    *(claims.convert,) * 2,
    claims.retry,
    claims.close,
    *(returns.request,) * 3,
    *(returns.receive,) * 4,
    *(returns.parcel,) * 2,
    *(returns.end,) * 2,
    returns.cancel,
    *(goods.move,) * 6,
    *(exchanges.open_one,) * 4,
    *(exchanges.pay,) * 2,
    *(exchanges.send,) * 2,
    exchanges.receive,
    *(exchanges.cancel,) * 3,
    *(money.refund,) * 2,
    money.goodwill,
    money.spend,
    money.capture,
    inquiries.report,
    *(inquiries.decide,) * 3,
    *(keys.again,) * 2,
    keys.twice_at_once,
    keys.of_another,
)

# Of one call, by what it takes; and of all books at once.
Judge = Callable[[Call, Books, History], list[str]]
Sweep = Callable[[Books, History], list[str]]
_NOUNS = (claims, returns, goods, exchanges, money, inquiries)
JUDGES: dict[str, Judge] = {name: judge for noun in _NOUNS for name, judge in noun.JUDGES.items()}
SWEEPS: tuple[Sweep, ...] = tuple(sweep for noun in _NOUNS for sweep in noun.SWEEPS)
