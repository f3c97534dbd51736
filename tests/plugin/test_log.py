"""The package's log goes to Orthanc's, level by level, and nowhere else."""

from __future__ import annotations

import logging

from orthanc_gcp.plugin.log import log_to


class Log:
    """The three levels of Orthanc's log."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __getattr__(self, name):
        return lambda text: self.lines.append(f"{name} {text}")


def test_each_level_has_its_own(unchanged_log, capsys):
    orthanc = Log()
    log_to(orthanc)
    log = logging.getLogger("orthanc_gcp.somewhere")
    log.debug("too much")
    log.info("account %s: %d", "a", 1)
    log.warning("careful")
    log.error("broken")
    log.critical("worse")
    assert orthanc.lines == [
        "LogInfo Google Cloud Platform: account a: 1",
        "LogWarning Google Cloud Platform: careful",
        "LogError Google Cloud Platform: broken",
        "LogError Google Cloud Platform: worse",
    ]
    assert capsys.readouterr() == ("", "")


def test_a_second_start_does_not_double_lines(unchanged_log):
    first, second = Log(), Log()
    log_to(first)
    log_to(second)
    logging.getLogger("orthanc_gcp").warning("once")
    assert (len(first.lines), len(second.lines)) == (0, 1)
