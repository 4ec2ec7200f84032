"""Idle workers take queued jobs; attempts are driven to their end and settled.

`dispatcher` owns the loops, `fleet` the workers as they are in memory, `link` one worker's connection, `drive` the
attempts in flight, `attempt` one of them, `inputs` what has to be on the worker first, `collect` what it made, `room`
what becomes of a job that found too little memory, `watching` the workers that are silent, broken or old, `learning`
what is kept of it all.
"""

from gateway.dispatch.dispatcher import Dispatch, Options, Ties
from gateway.dispatch.tools import Patience
from gateway.dispatch.watching import Care

__all__ = ["Care", "Dispatch", "Options", "Patience", "Ties"]
