"""``coset doctor``: is everything here, and does the mathematics hold?"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coset.interop.doctor import Health


def doctor(*, json: bool = False) -> int:
    """Show versions, extras and a self-check of the mathematics.

    Parameters
    ----------
    json
        Print one JSON document instead of text.
    """
    from coset.cli.show import emit
    from coset.interop.doctor import examine

    health = examine()
    check = health.check
    passed = check is not None and check.passed
    if json:
        told = asdict(health)
        told["extras"] = {e.name: {"present": e.present, "missing": e.missing, "install": e.install} for e in health.extras}
        emit({"schema": 1, **told, "passed": passed})
        return 0 if passed else 1
    _show(health)
    return 0 if passed else 1


def _show(health: Health) -> None:
    v = health.versions
    torch = f"{v.get('torch', 'missing')} ({health.device})"
    print(f"coset {v.get('coset', '?')}   python {v['python']}   torch {torch}   {health.threads} threads")
    rest = [f"{name} {version}" for name, version in v.items() if name not in ("coset", "python", "torch")]
    print("with        " + "   ".join(rest))
    for i, extra in enumerate(health.extras):
        state = "ok" if not extra.missing else f"lacks {', '.join(extra.missing)} -> {extra.install}"
        print(f"{'extras' if i == 0 else '':<12}{extra.name:<8}{state}")
    check = health.check
    if check is None:
        print("self-check  needs torch: pip install torch")
        return
    verdict = "ok" if check.passed else f"FAILED at {check.worst} (limit {check.limit:.0e})"
    laws = f"{check.groups} groups, {check.actions} laws, g(hx) = (gh)x to {check.error:.1e}"
    print(f"self-check  {laws}: {verdict} ({check.seconds:.1f} s)")
