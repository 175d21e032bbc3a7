"""The bus as its description says, also where an earlier version made it otherwise."""

from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig
from support.events import hook_event
from support.servers import NatsFixture
from support.waiting import eventually

from hookbus.contracts import subjects
from hookbus.contracts.events import Kind
from hookbus.platform.bus.provision import provision

FETCH_TIMEOUT_S = 10.0


async def _acknowledge_all(server: NatsFixture, service: str, count: int) -> None:
    client = await server.connect(service)
    subscription = await client.jetstream().pull_subscribe_bind(durable=service, stream=subjects.STREAM_HOOKS)
    taken = 0
    while taken < count:
        for message in await subscription.fetch(count - taken, timeout=FETCH_TIMEOUT_S):
            await message.ack_sync()
            taken += 1
    await client.close()


async def _narrowed(manager: JetStreamContext) -> None:
    """The budget's consumer as it was when it took every kind, brought up to date."""
    config: ConsumerConfig = (await manager.consumer_info(subjects.STREAM_HOOKS, "budget")).config
    config.filter_subjects, config.filter_subject = None, subjects.SUBJECTS_HOOKS
    await manager.add_consumer(subjects.STREAM_HOOKS, config)  # pyright: ignore[reportUnknownMemberType]  # nats-py leaves its keyword options untyped
    assert (await manager.consumer_info(subjects.STREAM_HOOKS, "budget")).num_pending == 0


async def test_the_budget_is_sent_what_reports_spending_and_nothing_else(own_nats_server: NatsFixture) -> None:
    """Of three events two report spending; the third is kept until the other services have it, and no longer."""
    publisher = await own_nats_server.connect("gateway")
    administrator = await own_nats_server.connect("provision")
    manager = administrator.jetstream()
    await _narrowed(manager)
    await provision(manager)
    for kind in (Kind.PRE_TASK, Kind.USAGE, Kind.POST_TASK):
        event = hook_event(kind)
        await publisher.jetstream().publish(subjects.hook_subject(kind, event.subject), event.to_wire())
    assert (await manager.consumer_info(subjects.STREAM_HOOKS, "budget")).num_pending == 2
    await _acknowledge_all(own_nats_server, "budget", 2)
    for service in ("session", "audit"):
        await _acknowledge_all(own_nats_server, service, 3)

    async def empty() -> bool:
        return (await manager.stream_info(subjects.STREAM_HOOKS)).state.messages == 0

    await eventually(empty)
    await publisher.close()
    await administrator.close()


async def test_what_waits_while_the_consumer_narrows_leaves_the_stream(own_nats_server: NatsFixture) -> None:
    """An event stored for the budget by an earlier version does not stay for ever when the budget is no longer sent
    its kind."""
    publisher = await own_nats_server.connect("gateway")
    administrator = await own_nats_server.connect("provision")
    manager = administrator.jetstream()
    await _narrowed(manager)
    event = hook_event(Kind.PRE_TASK)
    await publisher.jetstream().publish(subjects.hook_subject(Kind.PRE_TASK, event.subject), event.to_wire())
    await provision(manager)
    for service in ("session", "audit"):
        await _acknowledge_all(own_nats_server, service, 1)

    async def empty() -> bool:
        return (await manager.stream_info(subjects.STREAM_HOOKS)).state.messages == 0

    await eventually(empty)
    await publisher.close()
    await administrator.close()
