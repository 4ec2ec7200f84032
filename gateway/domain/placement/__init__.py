"""Which queued job an idle worker takes: pure functions over what is known, without I/O and without a clock.

`least_connections` counts connections. `decide`, the default, places each job where it is expected to finish first,
which is the same thing as long as nothing was learned.
"""

from gateway.domain.placement.earliest import decide
from gateway.domain.placement.least import least_connections
from gateway.domain.placement.outlook import WINDOW, Decision, Outlook, Wait, Worker

__all__ = ["WINDOW", "Decision", "Outlook", "Wait", "Worker", "decide", "least_connections"]
