"""Idle workers take queued jobs; attempts are driven to their end and settled.

`dispatcher` owns the loops, `fleet` the workers as they are in memory, `link` one worker's connection, `drive` the
attempts in flight, `attempt` one of them, `inputs` what has to be on the worker first, `collect` what it made.
"""

from gateway.dispatch.attempt import Patience
from gateway.dispatch.dispatcher import Dispatch, Options, Ties

__all__ = ["Dispatch", "Options", "Patience", "Ties"]
