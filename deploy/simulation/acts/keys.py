"""What clients do with their keys: the same again, twice at once, another request."""

from __future__ import annotations

import asyncio

from deploy.simulation.acts.claims import some_claim
from deploy.simulation.clients import Client


async def again(client: Client) -> None:
    """A call that was answered, once more: the same bytes."""
    answered = [call for call in client.history.calls if call.status == 200]
    if answered:
        await client.repeat(client.chance.choice(answered))


async def twice_at_once(client: Client) -> None:
    """An impatient client: the same key on two connections."""
    path, body = await some_claim(client)
    call = client.call("claim", path, body, takes="claim")
    client.history.calls.append(call)
    one, other = await asyncio.gather(client.until_answered(call), client.until_answered(call))
    call.status, call.answer = one
    if one[0] == 200 and one != other:
        client.wrong(call, f"is answered by {one[0]} and {other[0]} at once")


async def of_another(client: Client) -> None:
    """A key that stood for something else: refused."""
    answered = [call for call in client.history.calls if call.status == 200 and call.body]
    if not answered:
        return
    call = client.chance.choice(answered)
    body = {**call.body, "no_notification": True}
    other = client.call(call.kind, call.path, body, customer=call.customer)
    other.key = call.key
    status, _ = await client.until_answered(other)
    if status != 422:
        client.wrong(other, f"the key of another request gives {status}")
