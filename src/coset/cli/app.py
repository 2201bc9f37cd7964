"""The command's frame: verbs by import path, exit codes, errors without a traceback.

Exit codes: 0 pass; 1 the stated tolerance is not met; 2 usage or bad input; 3 an optional package is missing; 70 a fault of
coset itself, which prints its traceback. ``COSET_DEBUG=1`` shows the traceback of every error.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Parameter

from coset.errors import CosetError, MissingExtra

PASS, UNMET, USAGE, EXTRA, FAULT = 0, 1, 2, 3, 70

#: verb: what it does, and a worked example for its help, no line of which is wider than a plain terminal
VERBS = {
    "doctor": ("Show versions, extras and a self-check of the mathematics.", "coset doctor\ncoset doctor --json"),
    "list": ("List groups, reps, methods, models or tasks.", "coset list tasks\ncoset list groups --json"),
    "audit": (
        "Measure how far a callable is from a contract.",
        'coset audit nets.py:cnn --group "C(4)" --in image --out-rep invariant \\\n'
        "    --data digits --tolerance 1e-3\n"
        'coset audit nets.py:force --group "O(3)" --in "pos=N x position" \\\n'
        '    --in "z=N x scalar" --out-rep "forces=N x vector" --data molecule.npz\n'
        "coset audit potential.safetensors --atoms test.extxyz",
    ),
    "symmetrize": (
        "Impose a symmetry on a model, save it, and show what that bought.",
        'coset symmetrize nets.py:cnn --group "C(4)" --in image \\\n'
        "    --out-rep invariant --how average --data digits --save runs/average",
    ),
    "compare": (
        "Train and measure the methods of a task; write one table and one page.",
        "coset compare digits\ncoset compare digits --methods plain,canonicalized --size smoke --seeds 2",
    ),
    "train": (
        "Train one method of a task.",
        "coset train digits plain --out runs/plain --set epochs=5\ncoset train digits plain --out runs/plain --resume\n"
        "coset train potential MACE --train a.extxyz --test b.extxyz --cutoff 5\n"
        "coset train potential MACE --train a.extxyz --test b.extxyz --init old.safetensors",
    ),
    "convert": (
        "Convert a potential of another package, verified against it, to one file.",
        "coset convert mace mp.model --trust-pickle --python MACE/bin/python",
    ),
    "data": (
        "Convert and check large sets of structures; list and fetch public ones.",
        "coset data convert md.extxyz.gz more.npz --out train.safetensors\ncoset data check train.safetensors\n"
        "coset data list\ncoset data fetch acac",
    ),
    "export": (
        "Write a trained model to one file, and print how programs use a potential.",
        "coset export runs/mace --out mace.safetensors\n"
        "coset export runs/mace --committee --out mace.safetensors\n"
        "coset export mace.safetensors --out copy.safetensors --to lammps\n"
        "coset export runs/nbody/rows/egnn/0 --out egnn.pt2 --to pt2",
    ),
    "md": (
        "Run dynamics with a potential, and go on after a kill.",
        "coset md mace.safetensors --atoms start.extxyz --steps 20000 \\\n    --temperature 300 --out runs/nve",
    ),
    "relax": (
        "Relax structures with a potential.",
        "coset relax mace.safetensors --atoms start.extxyz --out relaxed.extxyz --cell",
    ),
    "serve": (
        "Show a folder of audits and runs in the browser; pages ask their models live.",
        "coset serve runs --open\ncoset serve runs --model nets.py:cnn",
    ),
    "docs": (
        "Write the documentation site: guides, a page per task and system, search.",
        "coset docs --out site\ncoset docs --tasks digits,nbody",
    ),
    "report": ("Write the page of a run folder again.", "coset report runs/digits"),
    "cite": ("Print BibTeX of whatever a run used.", "coset cite runs/digits\ncoset cite runs/digits --keys"),
    "card": (
        "Write the card of a trained model, and a folder that a hub can hold.",
        "coset card runs/digits/rows/plain/0 --license mit --out hub/plain",
    ),
}
PATHS = {"list": "coset.cli.listing:listing", "relax": "coset.cli.md:relax"}  #: where the verb is no good name for a module
#: verbs that have verbs of their own: where each is, and what it does
PARTS = {
    "data": {
        "convert": ("convert", "Write configurations of any source into one file that training reads piece by piece."),
        "check": ("check", "Compare the checksums of a converted file; print what a set is and what looks wrong with it."),
        "list": ("public", "List the public sets that can be fetched by name."),
        "fetch": ("fetch", "Download public sets into the cache, checked; what is there is checked again."),
    },
}
OPENING = "coset doctor\ncoset list tasks\ncoset compare digits"


def build() -> App:
    """The command line; verbs are imported when they are called for."""
    app = App(
        name="coset",
        help="Symmetry in machine learning: measure it, impose it, learn it, compare.",
        version=_version,
        default_parameter=Parameter(negative=""),
        help_format="plaintext",
        help_epilogue=_example(OPENING),
    )
    for verb, (does, example) in VERBS.items():
        if verb in PARTS:
            inner = App(
                name=verb, help=does, help_epilogue=_example(example), help_format="plaintext", version_flags=[],
                default_parameter=Parameter(negative=""),
            )  # fmt: skip
            for name, (function, says) in PARTS[verb].items():
                inner.command(f"coset.cli.{verb}:{function}", name=name, help=says)
            app.command(inner)
            continue
        app.command(PATHS.get(verb, f"coset.cli.{verb}:{verb}"), name=verb, help=does, help_epilogue=_example(example))
    return app


def _example(lines: str) -> str:
    return "Example:\n" + "\n".join(f"  {line}" for line in lines.splitlines())


def _version() -> str:
    import coset

    return f"coset {coset.__version__}"


def run(tokens: Sequence[str]) -> int:
    """Run one command; the exit code."""
    try:
        code = build()(list(tokens), exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
        return code if isinstance(code, int) else PASS
    except CycloptsError as error:
        return _say(f"{error}  (coset {' '.join(tokens[:1])} --help shows an example)", USAGE)
    except MissingExtra as error:
        return _say(str(error), EXTRA)
    except CosetError as error:
        return _say(str(error), USAGE)
    except BrokenPipeError:  # the reader (head, less) has seen enough
        _forget_output()
        return PASS
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except SystemExit as left:  # of a model; or of rich, whose reader has seen enough
        from coset.interop.target import blame

        if place := blame(left):
            return _say(f"{place}: the program was ended there (SystemExit {left.code})", USAGE)
        _forget_output()
        return PASS
    except Exception as error:
        if told := _not_ours(error):
            return _say(told, USAGE)
        import traceback

        traceback.print_exc()
        return _say("this is a fault of coset; please report it with the lines above", FAULT)


def _not_ours(error: Exception) -> str:
    """What the system refused or the user's own code raised, in words; empty for a fault of coset."""
    if isinstance(error, OSError) and error.errno is not None:
        try:
            sys.stdout.flush()
        except OSError:
            _forget_output()
        place = error.filename or "standard output or an open file"
        return f"cannot read or write {place}: {error.strerror}; is it there, is it yours, is there space left?"
    if isinstance(error, MemoryError) or ("alloc" in str(error) and "memory" in str(error)):
        return f"not enough memory ({str(error).strip().partition(chr(10))[0]}); ask for less: --samples, --size, batch"
    from coset.interop.target import blame, innermost

    if "/cyclopts/" in innermost(error):  # its parser stumbles over words such as []
        return "the words cannot be understood as they stand (coset --help)"
    place = blame(error)
    return f"{place}: {type(error).__name__}: {error}" if place else ""


def _forget_output() -> None:
    """What is still to be written to a stream that cannot take it goes nowhere, also when Python ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message: str, code: int) -> int:
    if os.environ.get("COSET_DEBUG") == "1" and code != FAULT:
        import traceback

        traceback.print_exc()
    print(f"coset: {message}", file=sys.stderr)
    return code


def main() -> None:
    """Entry point of the ``coset`` command."""
    sys.exit(run(sys.argv[1:]))
