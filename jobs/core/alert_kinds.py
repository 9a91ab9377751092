"""The kinds of alerts that there are, for whoever asks for one by name."""

ALERT_KINDS = frozenset(
    (
        *("backup_failed", "books_differ", "budget_exhausted", "cache_hit_rate_low"),
        *("component_unhealthy", "daily_report", "database_down", "disk_low", "error_rate_high"),
        *("exit_blocked", "foreign_sale", "halted", "job_paused", "key_expiring", "latency_high"),
        *("live_started", "log_output_failed", "market_delisted", "market_warning", "memory_high"),
        *("model_output_rejected", "order_filled", "order_unknown", "permanent_failure"),
        *("position_closed", "position_opened", "reconcile_mismatch", "recovered", "resumed"),
        *("retry_exhausted", "risk_limit_hit", "scheduler_stalled", "setting_loosened"),
        *("signal_stale", "stream_down", "test", "unclean_restart", "unknown_chat"),
        *("upbit_banned", "weekly_report", "withdraw_permission"),
    )
)
