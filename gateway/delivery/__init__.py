"""Delivering webhooks: what is owed is sent, signed, and tried again over a day; what cannot be sent stays visible."""

from gateway.delivery.bounds import Bounds
from gateway.delivery.loop import Deliverer, Options, Ties
from gateway.delivery.messages import Signer
from gateway.delivery.metrics import Metrics

__all__ = ["Bounds", "Deliverer", "Metrics", "Options", "Signer", "Ties"]
