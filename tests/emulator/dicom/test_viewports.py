"""Viewports: their size, the part of an image in them, and the refusals."""

from __future__ import annotations

import numpy as np
import pytest

from tests.emulator.client import Client
from tests.emulator.images import GRADIENT, PNG, image, picture, put


@pytest.mark.parametrize(
    ("viewport", "size"),
    [
        ("60,50", (60, 50)),
        ("60,1000", (60, 50)),
        ("1000,200", (240, 200)),
        ("10,10,,,,", (10, 8)),
        ("120,120,60,0,60,100", (72, 120)),
        ("1,10000,0,0,1,100", (1, 100)),
        ("30,30,100.5,80.5,10,10", (30, 30)),
    ],
)
def test_viewports_are_filled_in_proportion(
    client: Client, viewport: str, size: tuple[int, int]
) -> None:
    path = put(client, image(GRADIENT))
    for resource in ("rendered", "frames/1/rendered"):
        response = client.get(f"{path}/{resource}", PNG, viewport=viewport)
        assert picture(response).size == size


def test_a_viewport_shows_its_part_of_the_image(client: Client) -> None:
    path = put(client, image(GRADIENT))
    whole = np.asarray(picture(client.get(f"{path}/rendered", PNG)))
    part = whole[50:80, 10:60]
    for viewport, expected in (
        ("50,30,10,50,50,30", part),
        ("50,30,10,50,-50,30", part[:, ::-1]),
        ("50,30,10,50,50,-30", part[::-1]),
        ("120,100", whole),
    ):
        got = np.asarray(picture(client.get(f"{path}/rendered", PNG, viewport=viewport)))
        assert np.array_equal(got, expected), viewport


@pytest.mark.parametrize(
    "viewport",
    [
        "",
        "10",
        "10,",
        "0,10",
        "-5,10",
        "x,10",
        "1e1,10",
        "10001,10",
        "10,10001",
        "1.5,10",
        "10,10,0,0",
        "10,10,0,0,10",
        "10,10,0,0,10,10,0",
        "10,10,0,0,0,10",
        "10,10,0,0,121,100",
        "10,10,0,1,120,100",
        "10,10,-1,0,10,10",
        "10,10,120,0,,",
        "10,10,nan,0,10,10",
        "\uff110,10",
    ],
)
def test_viewports_that_are_none(client: Client, viewport: str) -> None:
    path = put(client, image(GRADIENT))
    response = client.get(f"{path}/rendered", PNG, viewport=viewport)
    assert response.status == 400
    assert b"viewport" in response.data
