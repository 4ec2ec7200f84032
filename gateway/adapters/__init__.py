"""The outside world behind the ports; chosen in `gateway.app` only."""
