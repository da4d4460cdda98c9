"""Docker's own logins: what `docker login` wrote, and what credential helpers hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docker.auth import load_config
from docker.errors import DockerException

from builder.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable

_HUB_KEY = "https://index.docker.io/v1/"
_HUB_HOSTS = ("docker.io", "registry-1.docker.io", "index.docker.io")


def read_logins() -> Callable[[str], tuple[str, str] | None]:
    """Return a function from a registry's host to user and password, as `find_login` gives them.

    Raises RegistryError when docker's configuration cannot be read.
    """
    try:
        configs = load_config()
    except DockerException as error:  # its words may quote the file, and with it a password
        hint = "`docker login` has to be able to read ~/.docker/config.json, or the file under $DOCKER_CONFIG."
        raise RegistryError("docker's own configuration of logins cannot be read", hint=hint) from error
    return lambda host: find_login(configs, host)


def find_login(configs: Any, host: str) -> tuple[str, str] | None:
    """Return user and password for a registry out of docker-py's AuthConfig, None when there is no login.

    An empty user means that the password is an identity token.
    """
    key = _HUB_KEY if host in _HUB_HOSTS else host
    try:
        config = configs.resolve_authconfig(key)
    except DockerException:  # a credential helper that is not installed: the registry then says what is missing
        return None
    if not config:
        return None
    token = config.get("identitytoken") or config.get("IdentityToken")
    if token:
        return "", str(token)
    user, password = (config.get(name) or config.get(name.title()) or "" for name in ("username", "password"))
    return str(user), str(password)
