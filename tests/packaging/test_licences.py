"""Every package that is shipped may be part of a work under AGPL-3.0-or-later."""

from __future__ import annotations

from email.message import Message
from importlib.metadata import distribution

import pytest

from artefacts.licences import licence_of, refused
from artefacts.requirements import runtime_pins
from artefacts.source import ROOT
from artefacts.targets import LINUX

SHIPPED = [pin.name for pin in runtime_pins(ROOT, ["all"], LINUX, [(3, 11)])]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_licence_of_each_dependency_is_one_that_was_judged(name):
    expression = licence_of(distribution(name))
    wrong = refused(expression) if expression else {"no licence at all"}
    assert not wrong, (
        f"{name} is under {', '.join(wrong)}. Read its licence. Where it may be combined with "
        "AGPL-3.0-or-later, add its SPDX identifier to ALLOWED, or the words for it to _WORDS, in "
        "packaging/artefacts/licences.py; where it may not, do without the package"
    )


def test_orthanc_gcp_itself():
    assert licence_of(distribution("orthanc-gcp")) == "AGPL-3.0-or-later"


class Stub:
    def __init__(self, **fields: str) -> None:
        self.metadata = Message()
        for name, value in fields.items():
            self.metadata[name.replace("_", "-")] = value


@pytest.mark.parametrize(
    ("fields", "expression"),
    [
        ({"License_Expression": "MIT", "License": "BSD"}, "MIT"),
        ({"License": "Apache 2.0"}, "Apache-2.0"),
        ({"License": "Ours alone\nAll rights reserved"}, "Ours alone"),
        ({"Classifier": "License :: OSI Approved :: MIT License"}, "MIT"),
        ({"Classifier": "License :: Other/Proprietary License"}, ""),
        ({}, ""),
    ],
)
def test_where_a_package_says_its_licence(fields, expression):
    assert licence_of(Stub(**fields)) == expression


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("MIT", set()),
        ("Apache-2.0 OR Ours", set()),
        ("(MIT AND Ours) OR (Theirs AND Yours)", {"Ours"}),
        ("Ours AND (Theirs OR MIT)", {"Ours"}),
        ("MIT AND SSPL-1.0", {"SSPL-1.0"}),
        (
            "GPL-3.0-only WITH Classpath-exception-2.0",
            {"GPL-3.0-only WITH Classpath-exception-2.0"},
        ),
        ("(MIT", {"(MIT"}),
        ("", {""}),
    ],
)
def test_what_may_not_be_part_of_it(expression, wrong):
    assert refused(expression) == wrong
