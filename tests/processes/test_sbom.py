"""A bill of materials holds what is there."""

from __future__ import annotations

import json

import pytest

from tools import sbom


def described(name: str, version: str, *more: str) -> bytes:
    return "\n".join(
        ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *more]
    ).encode()


def test_a_bill_names_every_package_its_licence_and_what_it_needs() -> None:
    text = sbom.bill(
        {
            "made_up-1.0.dist-info/METADATA": described(
                "made-up", "1.0", "License-Expression: MIT", "Requires-Dist: other>=2"
            ),
            "other-2.1.dist-info/METADATA": described("other", "2.1"),
        },
        # Loading the schema takes more time than all else; `make sbom` does it.
        validated=False,
    )
    bill = json.loads(text)
    purls = {it["purl"]: it for it in bill["components"]}
    assert set(purls) == {"pkg:pypi/made-up@1.0", "pkg:pypi/other@2.1"}
    made_up, other = purls["pkg:pypi/made-up@1.0"], purls["pkg:pypi/other@2.1"]
    assert made_up["licenses"][0]["license"]["id"] == "MIT"
    needs = {it["ref"]: it.get("dependsOn", []) for it in bill["dependencies"]}
    assert needs[made_up["bom-ref"]] == [other["bom-ref"]]
    assert bill["metadata"]["component"]["name"] == "product-catalog"


def test_what_is_no_package_is_refused() -> None:
    with pytest.raises(sbom.SbomError, match="Invalid purl"):
        sbom.bill({"made_up-1.0.dist-info/METADATA": b""})
