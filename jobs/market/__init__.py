"""The market job: tickers, candles and the marks of markets."""
