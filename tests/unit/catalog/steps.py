"""What the tests of the catalog share: a body, a caller, and what a refusal names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chalicelib.domain.errors import InvalidRequestError
from chalicelib.usecases.catalog import Origin
from tests.fakes import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable


SOMEBODY = Origin("somebody")


def faults(call: Callable[[], object]) -> dict[str, str]:
    """The fields that a refused request names, each with its message."""
    with pytest.raises(InvalidRequestError) as caught:
        call()
    return {error.field: error.message for error in caught.value.errors}


def keyed(key: str, principal: str = "somebody") -> Origin:
    return Origin(principal, key)


def bodies_in_queue(pipeline: Pipeline) -> list[str]:
    return [message.body for message in pipeline.queue.messages]
