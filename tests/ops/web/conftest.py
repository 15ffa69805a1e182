"""Certificates for the tests of the HTTP port."""

from collections.abc import Callable
from typing import NoReturn

import pytest

from tests.services.certificates import Certificates, certificates
from tests.services.process import ServiceUnavailableError


@pytest.fixture(scope="module")
def pem(
    tmp_path_factory: pytest.TempPathFactory, unavailable: Callable[[ServiceUnavailableError], NoReturn]
) -> Certificates:
    """A certificate of a server, its key, and the authority that vouches for it."""
    try:
        return certificates(tmp_path_factory.mktemp("certificates"))
    except ServiceUnavailableError as error:
        unavailable(error)
