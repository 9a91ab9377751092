"""The routes of the health port and the probes behind them."""
