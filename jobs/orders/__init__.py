"""The orders job and the order protocol: placement, tracking, settlement, reconciliation."""
