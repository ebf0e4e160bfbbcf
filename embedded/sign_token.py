"""Prints a developer's token for a stack in containers: `python -m embedded.sign_token`."""

from __future__ import annotations

import sys

from chalicelib.settings import SettingsError, read_settings
from embedded.stack import sign_token


def main() -> int:
    """Sign with CATALOG_JWT_SECRET; 2 if there is none."""
    try:
        secret = read_settings().jwt_secret
    except SettingsError as error:
        print(f"settings: {error}", file=sys.stderr)
        return 2
    if secret is None:
        print("there is no CATALOG_JWT_SECRET: CATALOG_JWKS_URL names who signs", file=sys.stderr)
        return 2
    print(sign_token(secret))
    return 0


if __name__ == "__main__":
    sys.exit(main())
