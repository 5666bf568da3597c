"""Reading a driver file: its text to a driver, or every mistake with its position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from labmon.config.builder import Parsed
from labmon.config.errors import ConfigError, Path
from labmon.config.yaml import Loaded, load_model
from labmon.drivers import python_driver
from labmon.drivers.call_step import Call
from labmon.drivers.check import check
from labmon.drivers.check_channels import same_names
from labmon.drivers.check_records import told_by_local_time
from labmon.drivers.compile import CompiledDriver
from labmon.drivers.grammar import DriverFile
from labmon.drivers.inherit import Inheritance
from labmon.drivers.repeat import expand


@dataclass(slots=True)
class DriverLoad:
    """What came of a driver file. `driver` is there only without `errors`; `warnings` never keep it away."""

    driver: CompiledDriver | None
    errors: list[ConfigError] = field(default_factory=list)
    warnings: list[ConfigError] = field(default_factory=list)
    advice: list[ConfigError] = field(default_factory=list)
    """What a careful engineer would look at; it keeps nothing out of service."""
    source: Loaded[DriverFile] | None = None
    """The file as it was read: where each key stands."""

    @property
    def fit(self) -> bool:
        """Whether it loads into service: no errors, and every query shown by an example, or a generic file."""
        return self.driver is not None and (self.driver.proven or self.driver.generic)


def load_driver(path: FilePath, id_: str | None = None, *, text: str | None = None, zone: str = "UTC") -> DriverLoad:
    """Load a driver file. Its id is `maker/model` by its folder and name, unless given. Never raises."""
    if path.suffix == ".py" and text is None:
        return _load_python(path, id_, zone)
    return _loaded(path, id_, text, zone)


def _load_python(path: FilePath, id_: str | None, zone: str) -> DriverLoad:
    """A Python driver, by its id or else its file."""
    known = python_driver.entries()
    name = id_ or next((name for name, entry in known.items() if python_driver.path_of(entry) == path.absolute()), "")
    if name not in known:
        return DriverLoad(None, [ConfigError(str(path), 1, 1, "", f"no entry point of {python_driver.GROUP} names it")])
    source = python_driver.read(known[name])
    if source.driver is None:
        return DriverLoad(None, [source.mistake()])
    return _loaded(path, name, source.header, zone, source.driver.calls, source.text)


def _loaded(
    path: FilePath,
    id_: str | None,
    text: str | None,
    zone: str,
    calls: Mapping[str, Call] | None = None,
    source_text: str | None = None,
) -> DriverLoad:
    inheritance = Inheritance(path)

    def prepare(parsed: Parsed) -> None:
        inheritance(parsed)
        expand(parsed, str(path))

    loaded = load_model(path, DriverFile, text=text, refuse_empty=True, prepare=prepare)
    if loaded.model is None:
        return DriverLoad(None, _once(loaded.errors))
    loaded.model.calls.update(calls or {})
    # Told once, though found for each choice of the parameters.
    errors: dict[tuple[Path, str], ConfigError] = {}

    def report(place: Path, message: str, hint: str = "", *, at_key: bool = False) -> None:
        errors.setdefault((place, message), loaded.error(place, message, hint, at_key=at_key))

    check(loaded.model, report)
    if errors:
        return DriverLoad(None, _once(sorted(errors.values())))
    source = (source_text or loaded.text) + "".join(
        f"\n# ---- extends {name} ----\n{below}" for name, below in inheritance.texts.items()
    )
    driver = CompiledDriver(id_ or f"{path.parent.name}/{path.stem}", loaded.model, source, zone)
    found = [*told_by_local_time(loaded.model), *same_names(loaded.model)]
    advice = [loaded.error(place, message, hint) for place, message, hint in found]
    return DriverLoad(driver, warnings=_warnings(loaded, loaded.model), advice=advice, source=loaded)


def _once(errors: Sequence[ConfigError]) -> list[ConfigError]:
    """What `repeat` has made several of is one mistake, told at the first of its paths."""
    found: dict[tuple[int, int, str], ConfigError] = {}
    for error in errors:
        found.setdefault((error.line, error.column, error.message), error)
    return list(found.values())


def _warnings(loaded: Loaded[DriverFile], file: DriverFile) -> list[ConfigError]:
    if file.generic:
        return [
            loaded.error(("generic",), "the map is the site file's: each reading carries `map not proven`", at_key=True)
        ]
    shown = {e.query for e in file.examples if e.readings is not None}
    return [
        loaded.error(("queries", name), "has no example, so the driver does not load into service", at_key=True)
        for name in file.queries
        if name not in shown
    ]
