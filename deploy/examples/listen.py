"""A program outside of Reclamo that reads its events: `python listen.py amqp://outside:...@host/`."""

import asyncio
import json
import sys

import aio_pika


async def listen(url: str) -> None:
    """Print every event, once, until interrupted."""
    connection = await aio_pika.connect(url)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=32)
    queue = await channel.get_queue("outside.events.v1", ensure=False)
    seen: set[str] = set()  # a real program keeps them where its own work is kept
    async with queue.iterator() as messages:
        async for message in messages:
            event = json.loads(message.body)
            if event["id"] not in seen:
                print(event["data"]["name"], event["subject"], event.get("sequence"), flush=True)
                seen.add(event["id"])
            await message.ack()  # only now: before, it would come again


if __name__ == "__main__":
    asyncio.run(listen(sys.argv[1]))
