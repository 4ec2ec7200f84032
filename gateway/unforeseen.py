"""What nobody thought of, in one template of many: it is told as broken and logged, and everything else goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

import structlog

from gateway.domain import errors

_log = structlog.get_logger("gateway.templates")


@contextlib.contextmanager
def as_template_error(name: str) -> Generator[None]:
    """Raises TemplateError for whatever else comes than what a template may bring about."""
    try:
        yield
    except (errors.TemplateError, errors.TemplateWaiting, errors.StoreUnavailable):
        raise
    # Templates come from anyone, and are read at the start and twice a second. A mistake of ours that one of them
    # brings out would end the server, with every job in it, and again at each restart: no exception is worth that.
    except Exception as error:
        _log.exception("template_not_understood", template=name)
        message = f"the gateway failed to read it ({type(error).__name__}); its log has more. Please report this."
        raise errors.TemplateError(message) from error
