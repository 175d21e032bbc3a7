"""A reference of benches: a bare responder that runs one statement, committed, for each request."""

import asyncio
import os
import signal
import sys

import asyncpg
import nats
from nats.aio.msg import Msg

CONNECTIONS = 10


async def main() -> None:
    """Answer until SIGTERM. Arguments: NATS address, its user, the database address, the subject, and the statement,
    whose parameter is the integer that a request is."""
    url, user, database, subject, statement = sys.argv[1:]
    client = await nats.connect(url, user=user, password=os.environ["HOOKBUS_NATS_PASSWORD"])
    pool = await asyncpg.create_pool(database, min_size=CONNECTIONS, max_size=CONNECTIONS)

    async def answer(message: Msg) -> None:
        async with pool.acquire() as connection:
            await connection.execute(statement, int(message.data))
        await message.respond(b"1")

    running: set[asyncio.Task[None]] = set()

    async def spawn(message: Msg) -> None:
        task = asyncio.create_task(answer(message))
        running.add(task)
        task.add_done_callback(running.discard)

    await client.subscribe(subject, cb=spawn)
    await client.flush()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await client.close()
    await pool.close()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
