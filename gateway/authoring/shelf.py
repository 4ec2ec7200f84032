"""The templates of a gateway as they are now, and finding the one that an order means.

`refresh` looks at files, store and workers, makes what changed anew, and puts the new library in the place of the old
one in a single step. Where much changed, as when hundreds of files are to be converted, it does what a second allows
and leaves the rest to the next call, so that templates appear as they are made and nobody waits for all.

A file that cannot be used any more changes nothing but the list of broken files: what answered to its name before goes
on. Templates of the user's files come before those added over the API, and these before the library that ships.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from gateway import ports, unforeseen
from gateway.authoring import conversions, making, preflights, stepping, ties
from gateway.domain import errors
from gateway.domain.comfy import joining, object_info
from gateway.domain.pipelines import model as pipelines
from gateway.domain.templates import choices, drafts, library, model, preflight, records, references

_log = structlog.get_logger("gateway.templates")
_LOOK_SECONDS: Final = 0.5  #: between looks at files and workers
_WORK_SECONDS: Final = 1.0  #: of making in one go
_STORE_LOOKS: Final = 4  #: looks from one look at the store to the next, for what other gateways wrote
_OLD_KEPT: Final = 256  #: older versions that are kept ready


class Shelf:
    """Templates by name and version. `open` it, then `run` it beside everything else."""

    def __init__(self, known: ties.Ties) -> None:
        self._ties = known
        self._conversions = conversions.Conversions(known)
        self._preflights = preflights.Preflights(known.workers)
        self._turn = asyncio.Lock()
        self._made: dict[str, making.Made] = {}
        self._library = library.Library()
        self._files = ports.FoundFiles(own={}, shipped={})
        self._heads: Mapping[str, records.Head] = {}
        self._added: dict[str, tuple[str, making.Wanted]] = {}  #: drafts of heads, with their versions
        self._aliases: Mapping[tuple[str, str], records.Alias] = {}
        self._due: set[str] = set()  #: names that must be made anew
        self._stirred = False  #: workers can do something else than what templates were built by
        self._moved = False  #: aliases point elsewhere; steps of pipelines may mean them
        self._is_open = False
        self._is_early = False  #: workers have yet to tell what they can do, and may soon
        self._owed = False  #: versions may have to be recorded
        self._newest: dict[str, str] = {}  #: the newest version of each name that the store knows
        self._catalogs: Sequence[object_info.NodeCatalog] = ()
        self._catalog: object_info.NodeCatalog | None = None
        self._old: OrderedDict[tuple[str, str], model.Template] = OrderedDict()

    # -- what there is --------------------------------------------------------------------------------------------

    @property
    def ties(self) -> ties.Ties:
        """What it works with."""
        return self._ties

    def library(self) -> library.Library:
        """The templates as they are now."""
        return self._library

    def aliases(self, name: str) -> tuple[records.Alias, ...]:
        """A template's aliases that point somewhere."""
        return tuple(alias for (of, _), alias in sorted(self._aliases.items()) if of == name and alias.is_set)

    def alias(self, name: str, alias: str) -> records.Alias | None:
        """An alias with its history, if it was ever set."""
        return self._aliases.get((name, alias))

    def own_file(self, name: str) -> str | None:
        """The user's file that this template comes from, if it comes from one."""
        found = self._files.own.get(name)
        return None if found is None else found.source

    def is_shipped(self, name: str) -> bool:
        """Whether the library that comes with the gateway has a template of this name."""
        return name in self._files.shipped

    def is_added(self, name: str) -> bool:
        """Whether this template was added over the API."""
        return name in self._heads

    def offered(self, template: model.Template) -> model.Template:
        """The template as it is told to callers, with the model files that workers have."""
        return choices.offered(template, self._known_catalogs())

    def verdicts(self, template: model.Template) -> tuple[preflight.Verdict, ...]:
        """Whether each worker would run it; of a pipeline, all its steps that are there: one whose template went is
        told as broken, and must not fail a listing."""
        if template.pipeline is None:
            return self._preflights.of(template)
        names = {references.parse(step.template).name for step in template.pipeline.steps if step.template is not None}
        steps = [each for each in self.library().templates if each.name in names and each.pipeline is None]
        return preflight.of_all([self._preflights.of(each) for each in steps])

    # -- finding --------------------------------------------------------------------------------------------------

    async def find(self, reference: str, *, key: str | None = None) -> model.Template:
        """The template that an order for `name`, `name@alias` or `name@version` means; `key` is the order's, by which
        candidates are drawn. NotFound, TemplateError, TemplateWaiting; InvalidRequest when several versions begin so.
        """
        return await self._find(reference, self._library, key)

    async def _find(self, reference: str, newest: library.Library, key: str | None = None) -> model.Template:
        name, which = references.parse(reference)
        if which is None and name in newest.names:
            alias = self._aliases.get((name, references.STABLE))
            version = references.chosen(alias, key) if alias is not None else None
            return newest.get(name) if version is None else await self.version(name, version)
        if which is None or which == references.LATEST:
            return newest.get(name)
        alias = self._aliases.get((name, which))
        version = references.chosen(alias, key) if alias is not None else None
        return await self.version(name, version or await self._full_version(name, which, newest))

    async def full_version(self, name: str, which: str) -> str:
        """The whole version that an alias, `latest` or the beginning of a version means."""
        return await self._full_version(name, which, self._library)

    async def _full_version(self, name: str, which: str, newest: library.Library) -> str:
        if which == references.LATEST:
            return newest.get(name).version
        alias = self._aliases.get((name, which))
        if alias is not None and alias.now.version is not None:
            return alias.now.version
        if not references.VERSION.fullmatch(which):
            raise self._unknown(name, which, newest)
        if len(which) == references.FULL:
            return which
        found = [each.version for each in await self._ties.store.versions(name) if each.version.startswith(which)]
        if len(found) > 1:
            message = f"Several versions of {name} begin with {which}: {', '.join(found)}."
            raise errors.InvalidRequest(message, faults=[errors.Fault(reason="ambiguous_version", message=message)])
        if not found:
            raise self._unknown(name, which, newest)
        return found[0]

    def _unknown(self, name: str, which: str, newest: library.Library) -> errors.NotFound:
        if name not in newest.names:
            newest.get(name)  # NotFound, with names that are near
        known = [alias.name for alias in self.aliases(name)]
        hint = f" Its aliases are {', '.join(known)}." if known else ""
        return errors.NotFound(f"The template {name} has no version or alias {which[:40]}.{hint}")

    async def version(self, name: str, version: str) -> model.Template:
        """This very version of a template; NotFound."""
        made = self._made.get(name)
        if made is not None and made.template is not None and made.template.version == version:
            return made.template
        kept = self._old.get((name, version))
        if kept is None:
            content = await self._ties.store.content(name, version)
            made = await self._of_content(name, content)
            kept = made.template
            if kept is None:
                raise self._unknown(name, version, self._library)
        self._old[(name, version)] = kept
        self._old.move_to_end((name, version))
        while len(self._old) > _OLD_KEPT:
            self._old.popitem(last=False)
        return kept

    async def made_of(self, draft: drafts.Draft) -> tuple[model.Template, records.Content]:
        """The template that this draft is, and what it is made of; TemplateError, TemplateWaiting."""
        if draft.pipeline is not None:
            return await self._pipeline_of(draft, draft.pipeline)
        converted = await self._conversions.of(draft)
        template = await asyncio.to_thread(draft.template, converted, self._catalog)
        return template, draft.content(converted)

    async def _pipeline_of(
        self, draft: drafts.Draft, pipeline: pipelines.Pipeline
    ) -> tuple[model.Template, records.Content]:
        """A pipeline; its steps mean what is there beside it, not what had its name before."""
        others = making.shelved({name: each for name, each in self._made.items() if name != draft.name})
        find = await stepping.finding(pipeline, lambda reference: self._find(reference, others))
        return draft.face(find), draft.pinned(find).content(making.NO_GRAPH)

    # -- keeping up -----------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Load everything for the first time."""
        self._newest = {name: info.version for name, info in (await self._ties.store.newest()).items()}
        while await self.refresh():
            pass
        self._is_open = True
        found = self._library
        _log.info(
            "templates_loaded",
            templates=len(found.templates),
            broken=len(found.broken) or None,
            waiting=len(found.waiting) or None,
        )

    async def run(self) -> None:
        """Keep up with files, store and workers until cancelled."""
        away = more = False
        looks = 0
        while True:
            await asyncio.sleep(0 if more else _LOOK_SECONDS)
            looks += 1
            try:
                more = await self.refresh(store=looks % _STORE_LOOKS == 0)
                away = False
            except errors.StoreUnavailable as error:
                if not away:
                    _log.warning("store_unavailable", reason=error.message)
                away, more = True, False

    async def refresh(self, *, store: bool = True, files: bool = True, first: str | None = None) -> bool:
        """Bring the library up to date, `first` before all else; True when there is more to do. StoreUnavailable, and
        then it stays as it was."""
        async with self._turn:
            if store:
                await self._read_store()
            if files:
                self._files = await asyncio.to_thread(self._ties.files.look)
            await self._look_at_workers()
            wanted = await self._wanted()
            self._due = {name for name, each in wanted.items() if self._is_due(name, each)}
            if self._due or self._stirred or self._moved or wanted.keys() != self._made.keys():
                await self._renew(wanted, first)
            await self._record(self._made)
            return bool(self._due)

    async def _renew(self, wanted: Mapping[str, making.Wanted], first: str | None) -> None:
        """Make what is due, and show it."""
        made = await self._make(wanted, first)
        self._tell(made)
        self._made, self._library, self._owed, self._stirred = made, making.shelved(made), True, False
        self._moved = False
        if not self._due:
            self._conversions.rest()
        plain = [template for template in self._library.templates if template.pipeline is None]
        await asyncio.to_thread(self._preflights.look_over, plain)

    async def _read_store(self) -> None:
        self._heads = await self._ties.store.heads()
        aliases = {(alias.template, alias.name): alias for alias in await self._ties.store.aliases()}
        self._moved, self._aliases = self._moved or aliases != self._aliases, aliases

    def _known_catalogs(self) -> Sequence[object_info.NodeCatalog]:
        """The different catalogs of the workers that told theirs."""
        told = (catalog for catalog in self._ties.workers().values() if catalog is not None)
        return tuple({catalog.digest: catalog for catalog in told}.values())

    async def _look_at_workers(self) -> None:
        """See whether the workers together can do something else than before."""
        catalogs = self._known_catalogs()
        was_early, self._is_early = self._is_early, self._conversions.is_early
        told = {catalog.digest for catalog in catalogs} != {catalog.digest for catalog in self._catalogs}
        if told or (was_early and not self._is_early):
            self._stirred, self._catalogs = True, catalogs
            self._catalog = await asyncio.to_thread(joining.joined, catalogs)
            self._old.clear()
            self._conversions.rest()

    async def _wanted(self) -> dict[str, making.Wanted]:
        """What each name should be made of."""
        added: dict[str, tuple[str, making.Wanted]] = {}
        for name, head in self._heads.items():
            known = self._added.get(name)
            if known is None or known[0] != head.version:
                content = await self._ties.store.content(name, head.version)
                known = head.version, await asyncio.to_thread(making.wanted_of, name, content)
            added[name] = known
        self._added = added
        return {**self._files.shipped, **{name: draft for name, (_, draft) in added.items()}, **self._files.own}

    def _is_due(self, name: str, wanted: making.Wanted) -> bool:
        """Whether this must be made anew; what could not be converted, or would be converted otherwise now, whenever
        the workers changed."""
        made = self._made.get(name)
        if made is None or made.wanted is not wanted or name in self._due:
            return True
        if not self._stirred or not isinstance(wanted, drafts.Draft):
            return False
        if made.problem is not None:
            return True
        is_saved = wanted.saved is not None
        return is_saved and made.basis is not None and self._conversions.is_outdated(made.basis.converted)

    async def _make(self, wanted: Mapping[str, making.Wanted], first: str | None) -> dict[str, making.Made]:
        """All that answers to names now: what is due made anew as far as a second goes, the rest as it was."""
        made = {name: each for name, each in self._made.items() if name in wanted}
        if self._stirred:
            kept = {name: each for name, each in made.items() if name not in self._due}
            rebuilt = await asyncio.to_thread(
                lambda: {name: making.rebuilt(each, self._catalog) for name, each in kept.items()}
            )
            made |= rebuilt
        until = self._ties.clock() + _WORK_SECONDS
        left = set(self._due)
        for name in sorted(self._due, key=lambda name: (name != first, name)):
            made[name] = await self._one(name, wanted[name])
            left.discard(name)
            if self._ties.clock() >= until:
                break
        if not left:
            made = await self._with_pipelines(made)
        self._due = left  # not before: what was made is thrown away where the store went in between
        return made

    async def _with_pipelines(self, made: dict[str, making.Made]) -> dict[str, making.Made]:
        """With the pipelines made of what their steps are now."""
        drafted = {
            name: (each.wanted, each.wanted.pipeline)
            for name, each in made.items()
            if isinstance(each.wanted, drafts.Draft) and each.wanted.pipeline is not None
        }
        if not drafted:
            return made
        shelved = making.shelved({name: each for name, each in made.items() if name not in drafted})
        for name, (wanted, pipeline) in drafted.items():
            try:
                with unforeseen.as_template_error(name):
                    find = await stepping.finding(pipeline, lambda reference: self._find(reference, shelved))
                    faced = making.faced(wanted, find)
            except (errors.TemplateError, errors.TemplateWaiting) as error:
                last = made[name] if made[name].template is not None else await self._last(name)
                made[name] = making.held_up(wanted, making.problem_of(wanted, error), last)
            else:
                before = made[name]
                is_same = before.problem is None and before.template == faced.template
                made[name] = before if is_same else faced
        return made

    async def _one(self, name: str, wanted: making.Wanted) -> making.Made:
        """What answers to this name now."""
        if isinstance(wanted, library.Broken):
            return making.held_up(wanted, wanted, await self._last(name))
        if wanted.pipeline is not None:  # made when all its steps' templates are
            before = self._made.get(name)
            return making.Made(wanted=wanted) if before is None else dataclasses.replace(before, wanted=wanted)
        try:
            with unforeseen.as_template_error(name):
                converted = await self._conversions.of(wanted)
                return await asyncio.to_thread(making.built, wanted, converted, self._catalog)
        except (errors.TemplateError, errors.TemplateWaiting) as error:
            return making.held_up(wanted, making.problem_of(wanted, error), await self._last(name))

    async def _last(self, name: str) -> making.Made | None:
        """What answered to this name before, in this life of the gateway or the one before."""
        made = self._made.get(name)
        if made is not None or name not in self._newest:
            return made
        content = await self._ties.store.content(name, self._newest[name])
        try:
            with unforeseen.as_template_error(name):
                return await self._of_content(name, content)
        except (errors.TemplateError, errors.TemplateWaiting):  # it was good by another gateway's rules
            return None

    async def _of_content(self, name: str, content: records.Content) -> making.Made:
        """A version that was kept; a pipeline's with the versions of its steps' templates."""
        draft = await asyncio.to_thread(drafts.of_content, name, content)
        if draft.pipeline is not None:
            return making.faced(draft, await stepping.finding(draft.pipeline, self.find))
        return await asyncio.to_thread(making.built, draft, content.workflow, self._catalog)

    async def _record(self, made: Mapping[str, making.Made]) -> None:
        """Keep the versions that are new, so that they can be called when they are old; StoreUnavailable leaves them
        for the next time."""
        if not self._owed:
            return
        new = [
            records.NewVersion(
                name=name,
                version=each.template.version,
                content=each.basis.draft.content(each.basis.converted),
                origin=records.Origin.API
                if name in self._added and each.wanted is self._added[name][1]
                else records.Origin.FILE,
            )
            for name, each in made.items()
            if each.problem is None
            and each.template is not None
            and each.basis is not None
            and self._newest.get(name) != each.template.version
        ]
        await self._ties.store.keep(new)
        self._newest |= {each.name: each.version for each in new}
        self._owed = False

    def _tell(self, made: Mapping[str, making.Made]) -> None:
        """Log what changed, once."""
        for name in sorted(self._made.keys() - made.keys()):
            _log.info("template_removed", template=name)
        for name, each in sorted(made.items()):
            before = self._made.get(name)
            if each.problem is not None and (before is None or before.problem != each.problem):
                event = "template_waiting" if isinstance(each.problem, library.Waiting) else "template_broken"
                facts = {"source": each.problem.source, "reason": each.problem.reason, "serving": each.problem.serving}
                _log.warning(event, template=name, **facts)
            elif each.template is not None and each.problem is None and self._is_open:
                was = before.template.version if before is not None and before.template is not None else None
                mended = before is not None and before.problem is not None
                if was != each.template.version:
                    _log.info("template_changed", template=name, version=each.template.version, before=was)
                elif mended:
                    _log.info("template_mended", template=name, version=was)
