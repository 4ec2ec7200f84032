"""How delivering goes, in numbers. How much is pending is the store's to tell."""

from __future__ import annotations

import prometheus_client as prometheus


class Metrics:
    """Counters on the gateway's registry."""

    def __init__(self, registry: prometheus.CollectorRegistry) -> None:
        self._tries = prometheus.Counter(
            "comfy_gateway_webhook_tries",
            "Webhooks that were sent, or failed to be, by what came of it.",
            ["outcome"],
            registry=registry,
        )
        for outcome in ("delivered", "failed", "dead", "progress"):
            self._tries.labels(outcome)

    def tried(self, outcome: str) -> None:
        """Count a try: `delivered`, `failed` (it is tried again), `dead` (it was the last one), `progress`."""
        self._tries.labels(outcome).inc()
