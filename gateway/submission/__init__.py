"""From orders to queued jobs: workflows, templates, batches. Refuses with everything that is wrong at once."""

from gateway.submission.orders import Ordered, Submission, Ties, Wishes
from gateway.submission.rules import Rules
from gateway.submission.secrets import Secrets

__all__ = ["Ordered", "Rules", "Secrets", "Submission", "Ties", "Wishes"]
