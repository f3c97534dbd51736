"""How samples reach Orthanc: tests/integration/test_routes.py sees what it makes of them."""

from __future__ import annotations

import struct

from orthanc_gcp.plugin.metrics import Metrics
from orthanc_gcp.worker.samples import BYTES, OLDEST, TOKEN_EXPIRY, WORKER_UP, Sample


class OldPlugin:
    """The Python plugin 5.0 and what Orthanc prints: ``1.79560499e+09`` for 1795604999."""

    class MetricsType:
        DEFAULT = 0

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def SetMetricsValue(self, name, value, _kind):  # noqa: N802 -- Orthanc names it so
        (kept,) = struct.unpack("f", struct.pack("f", value))
        self.values[name] = float(f"{kept:.9g}")


class NewPlugin(OldPlugin):
    """The Python plugin 7.1, which refuses what is no integer here."""

    def SetMetricsIntegerValue(self, name, value, _kind):  # noqa: N802 -- the same
        assert type(value) is int
        self.values[name] = value


def written(plugin, *samples):
    Metrics(plugin).write(samples)
    return plugin.values


def test_names_with_labels():
    samples = [
        Sample(BYTES, 7, {"account": 'a "b"\\\n', "state": "waiting"}),
        Sample(WORKER_UP, True),
    ]
    assert written(OldPlugin(), *samples) == {
        r'gcp_transfer_bytes{account="a \"b\"\\\n",state="waiting"}': 7,
        "gcp_worker_up": 1,
    }


def test_a_time_is_never_shown_later_than_it_is():
    for moment in range(1_795_604_900, 1_795_605_300):
        (shown,) = written(OldPlugin(), Sample(TOKEN_EXPIRY, moment + 0.5)).values()
        assert 0 <= moment + 0.5 - shown < 140
        (shown,) = written(NewPlugin(), Sample(TOKEN_EXPIRY, moment + 0.5)).values()
        assert shown == moment


def test_what_is_whole_keeps_all_digits_where_it_can():
    assert list(written(NewPlugin(), Sample(BYTES, 123_456_789_123)).values()) == [123_456_789_123]
    (shown,) = written(OldPlugin(), Sample(BYTES, 123_456_789_123)).values()
    assert abs(shown / 123_456_789_123 - 1) < 1e-7
    (age,) = written(OldPlugin(), Sample(OLDEST, 1.5)).values()
    assert age == 1.5
