"""The section ``Gateway``: with a mistake in it, nobody is let in."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from orthanc_gcp.configuration.option_types import option_names, read_options
from orthanc_gcp.configuration.options import SECTION, GatewayOptions, Globals
from orthanc_gcp.configuration.problems import Effect, Problem, kind_of, place_of, shown, unknown

__all__ = ["account_for_orthanc", "gateway"]


def gateway(
    value: Any, accounts: Collection[str], problems: list[Problem]
) -> GatewayOptions | None:
    """What is asked for; None where it is not, or where there is a mistake in it.

    Parameters
    ----------
    accounts
        Those that an AE title may be for, those with an error included.
    """
    if value is None:
        return None
    path = f"{SECTION}.Gateway"
    found: list[Problem] = []
    values: dict[str, Any] = {}
    if isinstance(value, dict):
        found += unknown(value, option_names(GatewayOptions), path)
        values = read_options(GatewayOptions, value, path, found)
        found += _titles(values.get("aets", {}), accounts, f"{path}.Aets")
        if values.get("answer_for_orthanc") and not values.get("start_with_orthanc", True):
            words = "only a gateway that Orthanc starts can: StartWithOrthanc is false"
            found.append(Problem(f"{path}.AnswerForOrthanc", words))
    else:
        found.append(Problem(path, f"found {kind_of(value)}, expected an object"))
    problems += (replace(problem, error=True, effect=Effect.NO_GATEWAY) for problem in found)
    return None if found else GatewayOptions(**values)


def account_for_orthanc(options: GatewayOptions | None, orthanc: Globals) -> Iterator[Problem]:
    """A warning where no account is that of Orthanc's own AE title, which is to answer for one."""
    if options is None or not options.answer_for_orthanc or len(set(options.aets.values())) == 1:
        return
    if orthanc.dicom_aet.strip().upper() not in {one.strip().upper() for one in options.aets}:
        words = (
            f"no account is that of Orthanc's own AE title {shown(orthanc.dicom_aet)}: "
            "whoever calls that finds only what Orthanc holds"
        )
        yield Problem(f"{SECTION}.Gateway.AnswerForOrthanc", words, error=False)


def _titles(aets: dict[str, str], accounts: Collection[str], path: str) -> list[Problem]:
    """What is wrong with the AE titles: padding and, in Orthanc, case do not tell two apart."""
    found = [
        Problem(place_of(path, aet), f"there is no account {shown(name)}, expected one of Accounts")
        for aet, name in aets.items()
        if name not in accounts
    ]
    alike = len({aet.strip().upper() for aet in aets}) < len(aets)
    if alike:
        found.append(Problem(path, "two AE titles differ in padding or case only"))
    return found
