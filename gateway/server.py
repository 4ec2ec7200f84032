"""`python -m gateway.server`, which the supervisor starts."""

from __future__ import annotations

import gc
import sys


def main() -> int:
    """Start `gateway.serving`, quickly: callers wait while a server is started anew.

    A sixth of that time went into looking for garbage among what is there to stay.
    """
    sys.setswitchinterval(0.0005)
    gc.disable()
    from gateway import serving

    gc.freeze()
    gc.enable()
    return serving.main()


if __name__ == "__main__":
    sys.exit(main())
