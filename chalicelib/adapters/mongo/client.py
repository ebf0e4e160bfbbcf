"""Makes a client of MongoDB."""

from __future__ import annotations

from dataclasses import dataclass

from pymongo import MongoClient
from pymongo.errors import ConfigurationError, InvalidURI

from chalicelib.adapters.mongo.documents import Document


@dataclass(frozen=True, slots=True)
class Pool:
    """At most so many connections to one server, closed after so many seconds without use."""

    size: int
    idle_seconds: float


def make_client(uri: str, find: float, answer: float | None, pool: Pool) -> MongoClient[Document]:
    """Make a client that waits `find` seconds for a server, `answer` for a command's answer.

    `answer` None: as long as it takes. What is given here wins over the same option in the address.
    Raises PyMongoError if the address is not usable.
    """
    try:
        return MongoClient(
            uri,
            appname="product-catalog",
            serverSelectionTimeoutMS=find * 1000,
            connectTimeoutMS=find * 1000,
            socketTimeoutMS=answer and answer * 1000,
            maxPoolSize=pool.size,
            maxIdleTimeMS=int(pool.idle_seconds * 1000),
            # For a connection of the pool. Without it a thread would wait for ever.
            waitQueueTimeoutMS=answer and answer * 1000,
        )
    except ValueError as error:
        # For example a port that is no number, since the password contains a slash.
        raise InvalidURI(str(error)) from error
    except OSError as error:
        text = f"a file that MONGODB_URI names cannot be read: {error.strerror}"
        raise ConfigurationError(text) from error
