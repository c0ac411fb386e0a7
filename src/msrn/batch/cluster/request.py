"""What a manifest asks for: which weights, computed how, stored how. The same for all of its images."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from msrn.batch.settings import Settings
from msrn.errors import UsageError

if TYPE_CHECKING:
    from msrn.restoration.automatic import Automatic

_NONE = type(None)
_SETTINGS = {
    "scale": (float, int, _NONE),
    "size": (tuple, _NONE),
    "quality": (int,),
    "subsampling": (str,),
    "strip_metadata": (bool,),
    "consistent": (bool,),
    "confidence": (bool,),
    "version": (str,),
    "frame": (int, _NONE),
}
_COMPUTING = {"strength": (float, int), "tta": (bool,), "effort": (int,), "backend": (str,), "precision": (str,)}


@dataclass(frozen=True)
class Request:
    """Everything that decides what becomes of an image.

    Example:
        >>> Request(settings=Settings(scale=2)).restorer(device="cpu")
    """

    weights: tuple[str, ...] = ()
    """Names or files of weights instead of their tasks' own."""
    settings: Settings = field(default_factory=Settings)
    """What is made, and how it is stored."""
    computing: dict[str, Any] = field(default_factory=dict[str, Any])
    """Arguments of ``Restorer`` that decide the result: strength, tta, backend, precision."""
    choices: dict[str, str] = field(default_factory=dict[str, str])
    """Backend and precision by SHA-256 of the weights, as the machine chose that made the manifest."""
    identity: str = ""
    """The settings' digest, with that of the weights."""

    def restorer(self, device: str = "auto", tile: int = 0) -> "Automatic":
        """What restores the images; device and tile do not change a result.

        Raises:
            WeightsError: weights cannot be loaded.
            UsageError: they are for something else, or cannot be computed as asked.
        """
        from msrn.restoration.automatic import automatic_loader

        enlarging = (self.settings.scale, self.settings.size) != (None, None)
        load = automatic_loader(self.weights, enlarging=enlarging, device=device, tile=tile, **self.computing)
        return load(self.choices)

    def settled(self, restorer: "Automatic") -> "Request":
        """The same request with what a restorer chose for it."""
        return replace(self, choices=restorer.choices, identity=self.settings.digest(restorer))

    def check(self, restorer: "Automatic") -> None:
        """Raise :class:`UsageError` unless a restorer makes what the manifest was made for."""
        version = Settings().version
        computed = sorted(set(self.choices.values()) - set(restorer.choices.values()))
        if version != self.settings.version:
            why = f"version {self.settings.version} of this program, and this is {version}"
        elif restorer.choices.keys() != self.choices.keys():
            why = "other weights than are found here"
        elif computed:
            why = f"{' and '.join(computed)}, which is not available here"
        elif self.settings.digest(restorer) != self.identity:
            why = "other settings than this program understands"
        else:
            return
        raise UsageError(f"the manifest was made for {why}: make another, for another output place")

    def to_json(self) -> dict[str, Any]:
        """Values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Request":
        """The request that :meth:`to_json` wrote; KeyError, TypeError or ValueError if it is none."""
        stored = dict(values["settings"])
        stored["size"] = stored["size"] and tuple(stored["size"])
        _check_kinds(stored, _SETTINGS)
        _check_kinds(values["computing"], _COMPUTING)
        _check_kinds(dict.fromkeys(values["weights"], "") | values["choices"] | {"": values["identity"]}, {})
        given: dict[str, Any] = {**values, "settings": Settings(**stored), "weights": tuple(values["weights"])}
        return cls(**given)


def _check_kinds(values: Mapping[Any, Any], kinds: Mapping[str, tuple[type, ...]]) -> None:
    """Raise :class:`TypeError` unless names and values are of some kinds; without any, of text."""
    for name, value in values.items():
        known = kinds[name] if kinds else (str,)
        if not isinstance(name, str) or not isinstance(value, known):
            raise TypeError(f"{name}: {value!r}")
