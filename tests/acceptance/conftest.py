"""What tests of several modules need; each brings the `gateway` that it runs."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.acceptance.program import Running


@pytest.fixture
def there(gateway: Running) -> Mapping[str, str]:
    """The environment of a person who said where the gateway is."""
    return {"COMFY_GATEWAY_URL": gateway.url}
