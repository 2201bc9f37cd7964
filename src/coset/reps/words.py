"""The words of the field language and their arguments: ``vector``, ``tensor(2)``, ``image(size=16, disc=true)``.

Irreps stand for themselves, ``8x0e+4x1o``, or are an argument, ``irreps(8x0e+4x1o, layout=mul_ir)``. Any other argument is
a number, ``true`` or ``false``, a pair such as ``16x24`` or a word; it is given in order or by name. Words are parsed, never
evaluated.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from coset.errors import CosetError, InputError, unknown
from coset.groups.parse import parse_group
from coset.reps.action import Fibre, Fixed, Kind, Position, Recorded, Scalar, Tensorial
from coset.reps.frames import Frames, VelocityState
from coset.reps.image import Image
from coset.reps.induced import RegularAxis
from coset.reps.irreps import Irreps
from coset.reps.sequence import Sequence
from coset.reps.torus import PeriodicImage

#: words that stand for one kind; ``tensor`` alone needs its argument
WORDS: dict[str, Kind] = {
    "scalar": Scalar(),
    "invariant": Scalar(),
    "logits": Scalar(),
    "fixed": Fixed(),
    "vector": Tensorial(1),
    "axial": Tensorial(1, parity=True),
    "pseudoscalar": Tensorial(0, parity=True),
    "position": Position(),
    "image": Image(),
    "vector_image": Fibre(Tensorial(1), Image()),
    "regular_image": Fibre(RegularAxis(), Image()),
    "periodic_image": PeriodicImage(),
    "frames": Frames(),
    "sequence": Sequence(),
    "regular": RegularAxis(),
    "recorded": Recorded(),
}


def irreps(spec: str, group: str = "O(3)", layout: str = "ir_mul") -> Irreps:
    """The word ``irreps``: ``irreps(2x0+1x2, group=SO(3))``."""
    return Irreps(spec, parse_group(group), layout=layout)


#: words that take arguments, by what they make
_MAKERS: dict[str, Callable[..., Kind]] = {
    "tensor": Tensorial,
    "image": Image,
    "periodic_image": PeriodicImage,
    "frames": Frames,
    "velocity_state": VelocityState,
    "sequence": Sequence,
    "regular": RegularAxis,
    "recorded": Recorded,
    "irreps": irreps,
}
_WORD = re.compile(r"^([a-z_]+)(?:\(\s*(.*?)\s*\))?$")


def parse_kind(word: str, spec: str = "") -> Kind:
    """The kind named by ``word``; InputError, with the nearest word, for one that does not exist or wrong arguments."""
    spec = spec or word
    if word[:1].isdigit() and not word.isdigit():
        return Irreps(word)
    match = _WORD.match(word)
    if not match:
        raise InputError(f"field {spec!r}: {word!r} is no kind; expected a word such as {', '.join(sorted(WORDS))}")
    name, inside = match.groups()
    if name not in WORDS and name not in _MAKERS:
        raise unknown("kind", name, {*WORDS, *_MAKERS})
    if not inside:
        if name not in WORDS:
            example = "the rank, as in 'tensor(2)'" if name == "tensor" else "them out, as in '8x0e+4x1o'"
            raise InputError(f"field {spec!r}: write {example}")
        return WORDS[name]
    if name not in _MAKERS:
        raise InputError(f"field {spec!r}: {name!r} takes no argument")
    positional, named = [], {}
    read = str if name == "irreps" else _value  # 2x0 are two irreps, not a pair of numbers
    for item in inside.split(","):
        key, equals, value = item.partition("=")
        if equals:
            named[key.strip()] = read(value.strip())
        else:
            positional.append(read(key.strip()))
    try:
        bound = inspect.signature(_MAKERS[name]).bind(*positional, **named)
        return _MAKERS[name](*bound.args, **bound.kwargs)
    except (TypeError, CosetError) as error:
        takes = ", ".join(inspect.signature(_MAKERS[name]).parameters)
        raise InputError(f"field {spec!r}: {name}({inside}) does not fit, {name} takes ({takes}): {error}") from error


def _value(text: str) -> Any:
    """A number, a pair of numbers, a truth value, or the word itself."""
    if re.fullmatch(r"[0-9]+", text):
        return int(text)
    if re.fullmatch(r"[0-9]+x[0-9]+", text):
        return tuple(int(part) for part in text.split("x"))
    return {"true": True, "false": False}.get(text, text)
