"""Where a token may be sent, and where not."""

import pytest

from confirma_async import ConfigurationError, Environment
from confirma_async._core.address import checked_base_url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://integrations.confirmafinance.com/api", "in the clear"),
        ("http://10.0.0.1/api", "in the clear"),
        ("ftp://localhost/api", "not a URL"),
        ("localhost:8080", "not a URL"),
        ("https://", "not a URL"),
        ("https://user:secret@host/api", "no user"),
        ("https://host/api?key=secret", "no user, password, query"),
        ("https://host/api#part", "fragment"),
        ("https://host/a b", "white space"),
        ("https://host/api\r\nX-Evil: 1", "white space|characters"),
        ("https://höst/api", "characters"),
        ("https://host:port/api", "not a URL"),
    ],
)
def test_a_base_url_that_is_unsafe_or_none_is_refused(url: str, said: str) -> None:
    """With one sentence, which shows no secret that it may hold."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        checked_base_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        *(environment.base_url for environment in Environment),
        "http://127.0.0.1:8080/api/v1/partner",
        "http://127.9.9.9/api",
        "http://localhost/api",
        "http://[::1]:8080/api",
        "https://host",
    ],
)
def test_https_and_loopback_are_taken_as_they_stand(url: str) -> None:
    """But for a slash at the end."""
    assert checked_base_url(url) == checked_base_url(f"{url}/") == url
