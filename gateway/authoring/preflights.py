"""Every template against every worker, each pair checked once for as long as neither changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from gateway import unforeseen
from gateway.authoring import ties
from gateway.domain import errors, model
from gateway.domain.comfy import object_info
from gateway.domain.templates import model as templates
from gateway.domain.templates import preflight

_log = structlog.get_logger("gateway.templates")
_KEPT = 20_000  #: results, before those of workers and versions that are gone are dropped

Findings = tuple[preflight.Finding, ...]


class Preflights:
    """Verdicts, from what the workers tell of themselves at this moment."""

    def __init__(self, workers: Callable[[], ties.Known]) -> None:
        self._workers = workers
        self._results: dict[tuple[str, str, str], Findings] = {}
        self._told: dict[tuple[str, model.WorkerId], bool] = {}  #: what the log says of each pair

    def of(self, template: templates.Template) -> tuple[preflight.Verdict, ...]:
        """One verdict a worker, by its id."""
        return tuple(
            preflight.Verdict(worker=worker, findings=None if catalog is None else self._findings(template, catalog))
            for worker, catalog in sorted(self._workers().items())
        )

    def _findings(self, template: templates.Template, catalog: object_info.NodeCatalog) -> Findings:
        key = (template.name, template.version, catalog.digest)
        found = self._results.get(key)
        if found is None:
            found = self._results[key] = preflight.check(template, catalog)
        return found

    def look_over(self, found: Sequence[templates.Template]) -> None:
        """Check all of these, and log what changed. Takes its time: call it in a thread."""
        if len(self._results) > _KEPT:
            self._results.clear()
        told: dict[tuple[str, model.WorkerId], bool] = {}
        for template in found:
            for verdict in self._foreseen(template):
                if verdict.passes is not None:
                    pair = (template.name, model.WorkerId(verdict.worker))
                    told[pair] = verdict.passes
                    self._tell(template, verdict, was=self._told.get(pair))
        self._told = told

    def _foreseen(self, template: templates.Template) -> tuple[preflight.Verdict, ...]:
        try:
            with unforeseen.as_template_error(template.name):
                return self.of(template)
        except errors.TemplateError:
            return ()

    @staticmethod
    def _tell(template: templates.Template, verdict: preflight.Verdict, *, was: bool | None) -> None:
        if verdict.passes == was:
            return
        facts = {"template": template.name, "version": template.version, "worker": verdict.worker}
        if verdict.findings:
            first = verdict.findings[0].fault
            # That a worker lacks what a template of the library needs is the rule; that it stopped to fit is not.
            log = _log.debug if was is None else _log.warning
            log("template_does_not_fit", **facts, node=first.node, field=first.field, reason=first.message)
        else:
            (_log.debug if was is None else _log.info)("template_fits", **facts)
