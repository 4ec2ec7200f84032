"""Numbers for Prometheus, on a registry of their own. Dispatch may add its own to `registry`."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Mapping, Sequence

import prometheus_client as prometheus

from gateway import retention
from gateway.domain import deliveries, model
from gateway.domain.states import JobStatus

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The gateway's counters and gauges."""

    def __init__(self) -> None:
        self.registry = prometheus.CollectorRegistry()
        self._requests = prometheus.Counter(
            "comfy_gateway_http_requests", "Answered requests.", ["method", "status"], registry=self.registry
        )
        self.streams = prometheus.Gauge("comfy_gateway_event_streams", "Open event streams.", registry=self.registry)
        self.dropped_streams = prometheus.Counter(
            "comfy_gateway_event_streams_dropped", "Event streams whose reader took nothing.", registry=self.registry
        )
        self._jobs = prometheus.Gauge(
            "comfy_gateway_jobs",
            "Jobs that are kept now, by status. Not a counter.",
            ["status"],
            registry=self.registry,
        )
        self._workers = prometheus.Gauge(
            "comfy_gateway_workers", "Workers by state.", ["state"], registry=self.registry
        )
        self._worker_jobs = prometheus.Gauge(
            "comfy_gateway_worker_jobs_done", "Jobs that a worker has finished.", ["worker"], registry=self.registry
        )

        self._deliveries = prometheus.Gauge(
            "comfy_gateway_webhook_deliveries", "Webhooks owed, and given up.", ["status"], registry=self.registry
        )
        self._oldest = prometheus.Gauge(
            "comfy_gateway_webhook_oldest_seconds",
            "How long ago the oldest event happened that a webhook is still owed.",
            registry=self.registry,
        )

        self._placed = prometheus.Gauge(
            "comfy_gateway_placements",
            "Jobs given to a worker that held their models (warm) or not (cold), after they had let others go first"
            " (waited), or taken out of the line at another worker (stolen), since the start.",
            ["decision"],
            registry=self.registry,
        )
        self._held: prometheus.Gauge | None = None  #: nobody counts without a disk budget
        self._evicted = prometheus.Gauge(
            "comfy_gateway_evicted",
            "Jobs and uploads that went before their time, since the start.",
            ["what"],
            registry=self.registry,
        )
        self._evicted_bytes = prometheus.Gauge(
            "comfy_gateway_evicted_bytes", "Bytes that went before their time, since the start.", registry=self.registry
        )
        self._refusing = prometheus.Gauge(
            "comfy_gateway_storage_refusing",
            "1 while orders are refused because the disk of the blobs is full or away.",
            registry=self.registry,
        )

    def placed(self, decisions: Mapping[str, int]) -> None:
        """How many jobs were placed how, since the start."""
        for decision in ("cold", "warm", "waited", "stolen"):
            self._placed.labels(decision).set(decisions.get(decision, 0))

    def answered(self, method: str, status: int) -> None:
        """Count an answer."""
        self._requests.labels(method if method in _METHODS else "other", str(status)).inc()

    def owed(self, backlog: deliveries.Backlog, *, now: float) -> None:
        """How webhook deliveries stand now."""
        self._deliveries.labels("pending").set(backlog.pending)
        self._deliveries.labels("dead").set(backlog.dead)
        self._oldest.set(0.0 if backlog.oldest is None else max(0.0, now - backlog.oldest))

    def kept(self, tally: retention.Tally, *, refusing: bool) -> None:
        """How much is stored, and what had to go."""
        if tally.held is not None:
            self._held = self._held or self._weighed()
            self._held.set(tally.held)
        self._evicted.labels("jobs").set(tally.evicted_jobs)
        self._evicted.labels("uploads").set(tally.evicted_uploads)
        self._evicted_bytes.set(tally.evicted_bytes)
        self._refusing.set(refusing)

    def _weighed(self) -> prometheus.Gauge:
        return prometheus.Gauge(
            "comfy_gateway_stored_bytes", "Bytes of all blobs, where there is a disk budget.", registry=self.registry
        )

    def render(self, jobs: Mapping[JobStatus, int], workers: Sequence[model.WorkerView]) -> bytes:
        """The exposition text, with how jobs and workers stand now."""
        for status in JobStatus:
            self._jobs.labels(status.value).set(jobs.get(status, 0))
        states = Tally(view.state for view in workers)
        for state in model.WorkerState:
            self._workers.labels(state.value).set(states.get(state, 0))
        self._worker_jobs.clear()
        for view in workers:
            self._worker_jobs.labels(view.id).set(view.jobs_done)
        return prometheus.generate_latest(self.registry)
