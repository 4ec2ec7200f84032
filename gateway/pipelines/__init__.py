"""Pipelines: jobs made of steps are led on to their end. `leading` does that, `own` the steps that need no worker."""

from gateway.pipelines.leading import Leader
from gateway.pipelines.ties import Finish, OrderStep, Ties

__all__ = ["Finish", "Leader", "OrderStep", "Ties"]
