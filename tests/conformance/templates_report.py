"""`make templates-report`: how many official templates we convert as ComfyUI's own frontend does, and what differs."""

from __future__ import annotations

import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator

from gateway.domain import errors
from gateway.domain.workflow import conversion
from tests.conformance import official

_HOW = f"""\
The report needs
  - what ComfyUI's frontend made of the official templates: {official.ROOT.parent}/shared/official-templates,
    or the folder that OFFICIAL_TEMPLATES names; in it api-graphs.json.gz and object_info.json.gz;
  - the templates themselves: the package {official.PACKAGE}, unpacked at
    {official.UNPACKED}
    (pip download --no-deps {official.PACKAGE}, then unzip it there).
"""


def main() -> int:
    """Print the report. Exit status 1 when something differs that nobody has explained."""
    corpus = official.corpus()
    if corpus is None or not _unpacked():
        sys.stderr.write(_HOW)
        return 2
    return _report(official.Official.read(corpus))


def _unpacked() -> bool:
    if official.TEMPLATES.is_dir():
        return True
    official.UNPACKED.mkdir(parents=True, exist_ok=True)
    words = ["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest", str(official.UNPACKED)]
    if subprocess.run([sys.executable, "-m", "pip", *words, official.PACKAGE], check=False).returncode:
        return False
    for wheel in official.UNPACKED.glob("*.whl"):
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(official.UNPACKED)
    return official.TEMPLATES.is_dir()


def _report(real: official.Official) -> int:
    begun = time.monotonic()
    differing: dict[str, list[str]] = {}
    failed: dict[str, str] = {}
    unknown: dict[str, list[str]] = {}
    count = 0
    for name, workflow in official.workflows():
        count += 1
        try:
            made = conversion.convert(workflow, real.info, allow_unknown=True)
        except errors.InvalidWorkflow as error:
            failed[name] = error.message
            continue
        if made.unknown:
            unknown[name] = sorted({fault.class_type or "" for fault in made.unknown})
        if name in real.graphs and (found := official.differences(real.graphs[name], made.graph, real.info)):
            differing[name] = found
    for line in _lines(real, count, differing, failed, unknown):
        print(line)
    print(f"{count} files in {time.monotonic() - begun:.1f} s")
    return 1 if failed or differing.keys() - official.EXPLAINED.keys() else 0


def _lines(
    real: official.Official,
    count: int,
    differing: dict[str, list[str]],
    failed: dict[str, str],
    unknown: dict[str, list[str]],
) -> Iterator[str]:
    compared = len(real.graphs) - len(failed.keys() & real.graphs.keys())
    yield f"equal in content: {compared - len(differing)} of {len(real.graphs)} graphs that the frontend made"
    for name, found in differing.items():
        yield f"\n{name}"
        yield from (f"  {each}" for each in found)
        if name in official.EXPLAINED:
            yield f"  explained: {official.EXPLAINED[name]}"
    yield f"\nconverted without an exception: {count - len(failed)} of {count} official templates"
    yield from (f"  {name}: {message}" for name, message in failed.items())
    yield f"with node classes that ComfyUI itself does not have (kept by --allow-unknown): {len(unknown)}"
    yield from (f"  {name}: {', '.join(classes)}" for name, classes in unknown.items())


if __name__ == "__main__":
    sys.exit(main())
