"""Names of the recorded markets, and rows of the market lists."""

from collections.abc import Collection, Mapping
from types import MappingProxyType

NAMES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "KRW-BTC": ("비트코인", "Bitcoin"),
        "KRW-ETH": ("이더리움", "Ethereum"),
        "KRW-XRP": ("엑스알피(리플)", "XRP"),
        "KRW-SOL": ("솔라나", "Solana"),
        "KRW-DOGE": ("도지코인", "Dogecoin"),
        "KRW-BLUR": ("블러", "Blur"),
        "KRW-CHZ": ("칠리즈", "Chiliz"),
        "KRW-ONT": ("온톨로지", "Ontology"),
        "KRW-RVN": ("레이븐코인", "Ravencoin"),
        "KRW-ZETA": ("제타체인", "ZetaChain"),
    }
)
CAUTIONS = (
    "PRICE_FLUCTUATIONS",
    "TRADING_VOLUME_SOARING",
    "DEPOSIT_AMOUNT_SOARING",
    "GLOBAL_PRICE_DIFFERENCES",
    "CONCENTRATION_OF_SMALL_ACCOUNTS",
)


def market_row(
    market: str, *, details: bool, warning: bool = False, cautions: Collection[str] = ()
) -> dict[str, object]:
    """A row of /market/all; a market without a known name goes by its coin's code."""
    coin = market.partition("-")[2]
    korean, english = NAMES.get(market, (coin, coin))
    row: dict[str, object] = {
        "market": market,
        "korean_name": korean,
        "english_name": english,
    }
    if details:
        marks = {name: name in cautions for name in (*CAUTIONS, *cautions)}
        row["market_event"] = {"warning": warning, "caution": marks}
    return row
