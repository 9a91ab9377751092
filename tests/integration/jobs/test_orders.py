"""The orders job against a venue with a ledger."""

from fixtures.trading import Trading


async def test_a_signal_becomes_an_order_its_fills_and_a_position(trading: Trading) -> None:
    signal = await trading.signal("buy")
    assert await trading.run() > 0
    order = await trading.only_order()
    assert order.state == "done"
    assert await trading.kinds(order) == ["intent", "post", "accepted", "fills", "final"]
    await trading.assert_books_agree()
    assert await trading.signal_status(signal) == ("executed", f"order {order.identifier}")
