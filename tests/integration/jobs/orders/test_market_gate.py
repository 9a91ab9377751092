"""Markets are tried before the first purchase; one in maintenance waits and comes back."""

from pathlib import Path

import pytest
from fixtures.trading import BTC, Trading

from jobs.core.errors import Unavailable
from jobs.domain.settings import Settings


async def test_the_first_purchase_of_a_market_is_tested_and_no_later_one(trading: Trading) -> None:
    await trading.set(cooldown_s=0, position_size_pct=1, entries_per_position=2)
    await trading.signal("buy")
    await trading.run()
    assert trading.venue.calls.count("test_order") == 1
    assert trading.venue.calls.index("chance") < trading.venue.calls.index("test_order")
    await trading.set(position_size_pct=5)
    await trading.signal("buy")
    await trading.run(after_s=10)
    assert len(trading.venue.posts) == 2
    assert trading.venue.calls.count("test_order") == 1


async def test_a_market_in_maintenance_gets_no_order_and_its_signal_waits(trading: Trading) -> None:
    trading.venue.offline = {BTC}
    signal = await trading.signal("buy")
    await trading.run()
    order = await trading.only_order()
    assert (order.state, order.reason) == (
        "refused",
        "never sent: refused in a test: market_offline",
    )
    assert trading.venue.posts == []
    assert (await trading.signal_status(signal))[0] == "new"
    await trading.run(after_s=10)
    assert trading.venue.calls.count("test_order") == 1, "probed before it was due"
    await trading.run(after_s=30)
    assert trading.venue.calls.count("test_order") == 2
    trading.venue.offline = set()
    await trading.run(after_s=30)
    assert [post.market for post in trading.venue.posts] == [BTC]
    assert (await trading.signal_status(signal))[0] == "executed"


async def test_other_markets_go_on_meanwhile(trading: Trading) -> None:
    trading.venue.offline = {BTC}
    await trading.signal("buy")
    await trading.signal("buy", "KRW-ETH")
    await trading.run()
    assert [post.market for post in trading.venue.posts] == ["KRW-ETH"]


async def test_a_sale_that_meets_maintenance_waits_for_the_market(trading: Trading) -> None:
    await trading.signal("buy")
    await trading.run()
    trading.venue.offline = {BTC}
    trading.venue.quote(trading.venue.price[BTC] * 90 // 100)
    await trading.run(after_s=10)
    refused = (await trading.orders())[-1]
    assert refused.reason == "refused by the venue: market_offline"
    for _ in range(5):
        await trading.run(after_s=10)
    assert len(trading.venue.posts) == 2, "a paused market was sent an order"
    trading.venue.offline = set()
    for _ in range(4):
        await trading.run(after_s=30)
    assert (await trading.holding()).volume == 0


async def test_a_test_without_an_answer_sends_nothing_and_keeps_the_signal(
    trading: Trading, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(request: object) -> None:
        raise Unavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(trading.venue, "test_order", silent)
        signal = await trading.signal("buy")
        with pytest.raises(Unavailable):
            await trading.run()
    assert trading.venue.posts == []
    assert (await trading.only_order()).state == "refused"
    await trading.run(after_s=10)
    assert (await trading.signal_status(signal))[0] == "executed"


async def test_a_halt_file_stops_orders_at_once_and_its_end_resumes(
    trading: Trading, tmp_path: Path
) -> None:
    """Settings may be an hour old in a cache: the file is looked at before every order."""
    stale = Settings()

    async def cached() -> Settings:
        return stale

    file = tmp_path / "HALT"
    trading.restarted(halt_file=file)
    trading.job = type(trading.job)(
        desk=trading.desk, view=trading.view, sleep=trading.clock.sleep, settings=cached
    )
    file.touch()
    signal = await trading.signal("buy")
    await trading.run()
    assert trading.venue.posts == []
    assert "halted" in str((await trading.signal_status(signal))[1])
    file.unlink()
    await trading.signal("buy")
    await trading.run(after_s=10)
    assert len(trading.venue.posts) == 1


async def test_a_halt_file_between_intent_and_sending_withdraws_the_order(
    trading: Trading, tmp_path: Path
) -> None:
    file = tmp_path / "HALT"
    trading.restarted(halt_file=file)
    real = trading.venue.test_order

    async def touching(request: object) -> None:
        file.touch()

    trading.venue.test_order = touching  # type: ignore[method-assign]  # the last step before it
    await trading.signal("buy")
    await trading.run()
    trading.venue.test_order = real  # type: ignore[method-assign]  # as it was
    assert trading.venue.posts == []
    assert (await trading.only_order()).reason == "never sent: halted"


async def test_a_halt_in_the_database_is_heeded_though_settings_are_cached(
    trading: Trading,
) -> None:
    stale = Settings()

    async def cached() -> Settings:
        return stale

    trading.job = type(trading.job)(
        desk=trading.desk, view=trading.view, sleep=trading.clock.sleep, settings=cached
    )
    await trading.set(halted=True)
    await trading.signal("buy")
    await trading.run()
    assert trading.venue.posts == []
