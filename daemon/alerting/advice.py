"""What a person can do about each kind of alert, in one line."""

from collections.abc import Mapping
from types import MappingProxyType

from jobs.core.job import Incident

ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "budget_exhausted": "raise gemini.daily_budget_usd, ask less often, or wait for the next "
        "Korean day; `upbitd stats` shows what was spent",
        "cache_hit_rate_low": "look at `/cache-stats`; raise the ttl of this cache or "
        "cache.max_entries",
        "component_unhealthy": "read the component's cause in `upbitd health`; `upbitd doctor` "
        "names what to mend",
        "database_down": "start Postgres, make room on its disk, or look at `upbitd doctor`; the "
        "daemon goes on by itself",
        "disk_low": "make room, or move daemon.state_dir to a larger disk",
        "error_rate_high": "`upbitd slots --limit 50` shows which runs fail and why",
        "exit_blocked": "look at the market on Upbit and sell there, or use `upbitd flatten`",
        "foreign_sale": "nothing, if you sold it yourself; else look who can use the account",
        "halted": "`upbitd resume` when trading may go on; `upbitd positions` shows what is held",
        "job_paused": "`upbitd jobs resume` lets it go on; `upbitd jobs list` says who paused it",
        "key_expiring": "make a new key at https://upbit.com/mypage/open_api_management, give it "
        "to the daemon and restart it",
        "latency_high": "look for what holds the machine: `upbitd slots`, CPU, disk, the database",
        "live_started": "nothing, if you started it; else `upbitd halt` and look who did",
        "log_output_failed": "make room or rights for it (log.file, or who reads standard output); "
        "the daemon goes on",
        "market_gone": "read Upbit's notice and move the coins in time; mend or remove the name in "
        "trading.markets",
        "market_warning": "read Upbit's notice of this market; sell what you do not want to hold "
        "(`upbitd flatten`)",
        "memory_high": "restart the daemon when it suits you; report it if it grows again",
        "model_output_rejected": "`upbitd signals` shows what was usable; try another "
        "gemini.model if it lasts",
        "order_unknown": "`upbitd explain ORDER` and the order list on Upbit; it is asked for "
        "until Upbit has spoken, nothing is sent again",
        "permanent_failure": "read the error; a key, an address or a setting is refused, and "
        "`upbitd doctor` names which",
        "reconcile_mismatch": "compare `upbitd positions` and `upbitd orders` with Upbit's own "
        "lists; the market sells only until they agree",
        "recovered": "nothing to do: it is over",
        "resumed": "nothing, if you resumed trading; else `upbitd halt` and look who did",
        "retry_exhausted": "usually nothing: the next run tries again; `upbitd slots --job JOB` "
        "shows whether it lasts",
        "risk_limit_hit": "nothing: the limit does its work; `upbitd settings list` shows it",
        "scheduler_stalled": "systemd restarts a stuck daemon; without it, restart it yourself "
        "and keep the log",
        "setting_loosened": "nothing, if you changed it; else set it back with `upbitd settings "
        "set` and look who did",
        "signal_stale": "`upbitd slots --job signals` shows why no signal comes; exits go on "
        "without signals",
        "test": "nothing: this is a test",
        "unclean_restart": "find what ended it: `journalctl -t upbitd -e`, `journalctl -k -g oom`, "
        "`upbitd doctor`; orders were compared with Upbit at the start",
        "upbit_banned": "wait: everything goes on at the instant it names; do not share the "
        "machine's address with another bot",
        "withdraw_permission": "make a key without any withdrawal right at "
        "https://upbit.com/mypage/open_api_management and delete this one",
    }
)
"""By kind of alert; an incident with an advice of its own keeps it."""


def advice_for(incident: Incident) -> str | None:
    """The incident's own advice, else that of its kind."""
    return incident.advice or ADVICE.get(incident.kind)
