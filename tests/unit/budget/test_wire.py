"""The replies that are written without models are what the models would have written, to the byte."""

from decimal import Decimal
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from hookbus.budget.accounts import LimitRule, LimitState
from hookbus.budget.amounts import Amounts, usd_of
from hookbus.budget.commands import Closed, Outcome, Reserved
from hookbus.budget.views import remaining_view
from hookbus.budget.wire import deduct_reply, reserve_reply
from hookbus.contracts.budget import Deducted, DeductReply, Mode, ReserveReply, ScopeKind, Unit, Window
from hookbus.contracts.decisions import DecisionCode

counts = st.integers(0, 10**18)
moments = st.none() | st.integers(0, 4_000_000_000_000_000) | st.integers(0, 4_000_000_000).map(lambda s: s * 10**6)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
rules = st.builds(LimitRule, st.sampled_from(Unit), st.sampled_from(Window), counts, st.sampled_from(Mode))
states = st.lists(
    st.builds(LimitState, st.sampled_from(ScopeKind), texts, rules, st.integers(-(10**18), 10**18), counts, moments),
    max_size=4,
).map(tuple)
agents = st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True)


@given(
    agents,
    st.builds(
        Reserved,
        st.booleans(),
        st.sampled_from(DecisionCode),
        texts,
        st.sampled_from(Mode),
        states,
        st.just(0),
        st.none() | st.uuids(),
    ),
)
def test_a_reservations_reply_is_the_models(agent: str, answer: Reserved) -> None:
    model = ReserveReply(
        allowed=answer.allowed,
        reason=answer.reason,
        code=answer.code,
        agent_id=agent,
        remaining=remaining_view(answer.remaining),
        reservation=str(answer.reservation) if answer.reservation is not None else None,
        mode=answer.mode,
    )
    assert reserve_reply(agent, answer) == model.model_dump_json().encode()


@given(
    st.builds(
        Closed,
        st.sampled_from([Outcome.DONE, Outcome.DUPLICATE]),
        states,
        st.just(0),
        st.builds(Amounts, st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12)),
    )
)
def test_a_deductions_reply_is_the_models(answer: Closed) -> None:
    model = DeductReply(
        deducted=Deducted(tokens=answer.amounts.tokens, usd=usd_of(answer.amounts.usd_micros)),
        remaining=remaining_view(answer.remaining),
        duplicate=answer.outcome is Outcome.DUPLICATE,
    )
    assert deduct_reply(answer) == model.model_dump_json().encode()


def test_what_a_reply_looks_like() -> None:
    rule = LimitRule(Unit.USD, Window.HOUR, 1_500_000)
    state = LimitState(ScopeKind.PROJECT, "web", rule, 250_000, 5, 3_600_000_000)
    answer = Reserved(True, DecisionCode.OK, 'a "quote"', Mode.BLOCK, (state,), 0, UUID(int=7))  # noqa: FBT003 - a tuple's field
    parsed = ReserveReply.model_validate_json(reserve_reply("a", answer))
    (left,) = parsed.remaining
    assert (left.remaining, left.held) == (Decimal("1.249995"), Decimal("0.000005"))
    assert parsed.reservation == "00000000-0000-0000-0000-000000000007"
