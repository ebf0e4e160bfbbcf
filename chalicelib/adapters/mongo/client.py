"""Makes a client of MongoDB."""

from __future__ import annotations

from pymongo import MongoClient
from pymongo.errors import ConfigurationError, InvalidURI

from chalicelib.adapters.mongo.documents import Document


def make_client(uri: str, find: float, answer: float | None) -> MongoClient[Document]:
    """Make a client that waits `find` seconds for a server, `answer` for a command's answer.

    `answer` None: as long as it takes. Raises PyMongoError if the address is not usable.
    """
    try:
        return MongoClient(
            uri,
            appname="product-catalog",
            serverSelectionTimeoutMS=find * 1000,
            connectTimeoutMS=find * 1000,
            socketTimeoutMS=answer and answer * 1000,
        )
    except ValueError as error:
        # For example a port that is no number, since the password contains a slash.
        raise InvalidURI(str(error)) from error
    except OSError as error:
        text = f"a file that MONGODB_URI names cannot be read: {error.strerror}"
        raise ConfigurationError(text) from error
