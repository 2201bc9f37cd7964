"""``coset serve``: a folder of audits and runs in the browser, with the models behind the pages."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

Model = Annotated[
    list[str] | None,
    Parameter(
        help="A model that pages of the folder ask, as TARGET or NAME=TARGET; NAME is what the page calls it. Models saved "
        "under the folder are found by themselves.",
        negative=(),
        metavar="TARGET",
    ),
]
Host = Annotated[
    str, Parameter(help="The address to serve at; any but this machine's own asks every reader for the token it prints.")
]
Port = Annotated[int, Parameter(help="0 takes a free one.", validator=validators.Number(gte=0, lte=65535))]
Open = Annotated[bool, Parameter(name="--open", help="Open a browser.")]
Token = Annotated[bool, Parameter(help="Ask for a token here, too: others log in to this machine.")]
Workers = Annotated[
    int, Parameter(help="How many models run at once, each in a process.", validator=validators.Number(gte=1, lte=64))
]
Waiting = Annotated[int, Parameter(help="How many questions may wait.", validator=validators.Number(gte=0, lte=1000))]
Seconds = Annotated[
    float, Parameter(help="What a model may take for one answer; its process is ended then.", validator=validators.Number(gt=0))
]


def serve(
    runs: Path,
    /,
    *,
    model: Model = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    open_browser: Open = False,
    token: Token = False,
    workers: Workers = 1,
    waiting: Waiting = 8,
    seconds: Seconds = 30.0,
) -> int:
    """Show a folder of audits and runs in the browser; audit pages ask their models live.

    Parameters
    ----------
    runs
        A folder written by coset audit --out or coset compare, or one that holds such folders.
    """
    from coset.interop.serve import Server

    server = Server(
        runs, _named(model or []), host=host, port=port, token=token, workers=workers, waiting=waiting, seconds=seconds
    )
    with server:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # models are ended with it, however it ends
        print(f"serving {runs} at {server.address}  (Ctrl-C ends it)", flush=True)
        if open_browser:
            import webbrowser

            webbrowser.open(server.address)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever(poll_interval=0.2)
    return 0


def _named(targets: list[str]) -> dict[str, str]:
    """Targets by the name that pages know them under: the one given, or the one that ``coset audit`` gives them."""
    from coset.cli.audit_page import names
    from coset.errors import InputError

    plain = [target for target in targets if "=" not in target]
    pairs = [target.partition("=")[::2] for target in targets if "=" in target]
    pairs += list(zip(names(plain), plain, strict=True))
    found = dict(pairs)
    if len(found) < len(pairs) or any(not name or not target for name, target in pairs):
        raise InputError(f"--model: expected TARGET or NAME=TARGET, each name once; got {', '.join(targets)}")
    return found
