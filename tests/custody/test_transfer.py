"""What Orthanc receives is confirmed in the store, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from tests.support.site import Site, make_study

SYNTAXES = (
    "CT_small.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_RLE.dcm",
    "JPEG2000.dcm",
    "JPEG-lossy.dcm",
    "image_dfl.dcm",
    "MR_small_bigendian.dcm",
    "reportsi.dcm",
    "rtplan.dcm",
)


def test_every_transfer_syntax_stays_byte_identical(tmp_path):
    with Site(tmp_path) as site:
        site.wait_for_following()
        files = [Path(str(get_testdata_file(name))).read_bytes() for name in SYNTAXES]
        files += make_study(series=2, instances=5)
        sent = {site.upload(content) for content in files}  # two samples are the same instance
        site.wait_for(confirmed=len(sent))
        kept = [site.orthanc.request("GET", f"/instances/{one}/file").data for one in sent]
        assert sorted(site.stored().values()) == sorted(kept)


def test_killed_again_and_again_it_loses_nothing(tmp_path):
    with Site(tmp_path) as site:
        site.wait_for_following()
        sent: set[str] = set()
        for turn in range(12):
            sent |= {site.upload(content) for content in make_study(instances=15, size=300)}
            victim = turn % 3
            if victim == 0:
                site.kill_worker()
                site.start_worker()
            elif victim == 1:
                site.emulator.kill()
                site.emulator.start()
            else:
                site.orthanc.kill()
                site.orthanc.start()
        site.wait_for(confirmed=len(sent))
        kept = [site.orthanc.request("GET", f"/instances/{one}/file").data for one in sent]
        assert sorted(site.stored().values()) == sorted(kept)


@pytest.mark.parametrize("verify", ["Search", "Bytes", "Sample"])
def test_each_way_to_verify(tmp_path, verify):
    with Site(tmp_path, account={"Verify": verify}) as site:
        site.wait_for_following()
        for content in make_study(instances=30):
            site.upload(content)
        site.wait_for(confirmed=30)


def test_a_conflict_is_kept_and_named(tmp_path):
    ours = make_study(instances=3)
    with Site(tmp_path) as site:
        theirs = bytearray(ours[1])
        theirs[-1] ^= 1
        stow = {"Content-Type": "application/dicom"}
        assert site.call("POST", "/dicomWeb/studies", bytes(theirs), **stow).status == 200
        site.wait_for_following()
        for content in ours:
            site.upload(content)
        site.wait_for(confirmed=2, quarantined=1)
        (row,) = [row for row in site.rows() if row.state == "quarantined"]
        assert row.reason == "conflict"
        assert "other bytes" in row.detail
        assert bytes(theirs) in site.stored().values()


def test_a_conflict_is_replaced_where_it_is_asked_for(tmp_path):
    ours = make_study(instances=3)
    with Site(tmp_path, account={"OnConflict": "Replace"}) as site:
        theirs = bytearray(ours[1])
        theirs[-1] ^= 1
        stow = {"Content-Type": "application/dicom"}
        assert site.call("POST", "/dicomWeb/studies", bytes(theirs), **stow).status == 200
        site.wait_for_following()
        for content in ours:
            site.upload(content)
        site.wait_for(confirmed=3)
        assert sorted(site.stored().values()) == sorted(ours)
