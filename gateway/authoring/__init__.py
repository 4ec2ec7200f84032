"""Templates as their authors keep them: files that change, what was added over the API, versions and names for them,
and whether the workers can run them."""

from gateway.authoring.shelf import Shelf
from gateway.authoring.ties import Known, Ties

__all__ = ["Known", "Shelf", "Ties"]
