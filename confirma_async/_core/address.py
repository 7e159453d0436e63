"""Where requests may be sent: a base URL that would give the token away is refused."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from ..errors import ConfigurationError

__all__ = ["checked_base_url"]


def checked_base_url(url: str) -> str:
    """The base URL without a slash at its end.

    Raises:
        ConfigurationError: It is no http(s) URL, carries more than a base does, or would send the token in the clear.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except (ValueError, TypeError, AttributeError):
        raise ConfigurationError("base_url is not a URL such as https://host/api/v1/partner.") from None
    if not (url.isascii() and url.isprintable() and " " not in url):
        raise ConfigurationError("base_url holds white space or characters that a URL cannot carry.")
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError("base_url is not a URL such as https://host/api/v1/partner.")
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise ConfigurationError("base_url takes no user, password, query or fragment.")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ConfigurationError(f"base_url would send the token to {host} in the clear; use https.")
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
