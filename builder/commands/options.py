"""What several commands share: how sources and registries are chosen, and what a failure may not say."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.errors import ImgbuildError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builder.progress import Progress
    from builder.registry.client import Registry
    from builder.registry.place import Place
    from builder.registry.writing import Writer
    from builder.signing.vouching import Signer
    from builder.sources import Sources

_PROGRESS = ("auto", "rich", "plain", "github", "quiet")


def add_network(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of those that reach the network."""
    return add_progress(add_sources(command))


def add_sources(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option that names the sources."""
    help_text = "Where this machine gets things from: host, tuna, ustc, bfsu, aliyun, kit, or a file."
    return click.option("--sources", metavar="NAME|FILE", help=help_text)(command)


def add_progress(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option of those that take a while."""
    help_text = "How to draw what goes on."
    return click.option("--progress", type=click.Choice(_PROGRESS), default="auto", help=help_text)(command)


def add_registry(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of those that read a registry."""
    help_text = "Speak to the registry without TLS."
    return add_sources(click.option("--insecure", is_flag=True, help=help_text)(command))


def add_documents(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of those that attach documents to images: `bare`, `key`, `identity` and `trust`."""
    for option in (
        click.option(
            "--no-documents", "bare", is_flag=True, help="Attach nothing: for a registry that takes images alone."
        ),
        click.option(
            "--sign-key",
            "key",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Sign images and documents with this private key, in PEM; IMGBUILD_SIGN_PASSWORD is its password.",
        ),
        click.option(
            "--sign-as",
            "identity",
            metavar="IDENTITY",
            callback=refuse_empty,
            help="Sign them by this identity, through Sigstore: that of the job on GitHub or GitLab, or of the token "
            "in SIGSTORE_ID_TOKEN.",
        ),
    ):
        command = option(command)
    return add_trust(command)


def refuse_empty(_: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Return the value of an option. Raises BadParameter for an empty one, as a variable that is not set leaves it."""
    if value is not None and not value.strip():
        raise click.BadParameter("it is empty", param=option)
    return value


def add_trust(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option that names a Sigstore of one's own: `trust`."""
    return click.option(
        "--trust-config",
        "trust",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="The Sigstore to trust and to use, as `sigstore --trust-config` takes it.  [default: the public one]",
    )(command)


def read_signer(key: Path | None, identity: str | None, trust: Path | None, *, bare: bool) -> Signer | None:
    """Return who signs, None where nobody does.

    Raises ImgbuildError, of which SigningError is one, and UsageError for options that do not go together.
    """
    if key and identity:
        raise click.UsageError("images are signed with --sign-key or with --sign-as, not with both")
    if trust and not identity:
        raise click.UsageError("--trust-config is about identities, so it goes with --sign-as")
    if bare and (key or identity):
        raise click.UsageError("images are signed together with their documents, so not with --no-documents")
    if key:
        from builder.signing.keys import read_signing_key

        return read_signing_key(key)
    if identity:
        from builder.signing.identity import read_identity_signer

        return read_identity_signer(identity, trust)
    return None


@contextmanager
def open_registry(text: str, sources: Sources, *, insecure: bool) -> Iterator[tuple[Registry, str]]:
    """Yield the registry of `registry.example/team`, to read, and the path in it, which may be empty.

    Raises RegistryError.
    """
    from builder.logins import read_logins
    from builder.registry.client import Registry

    place, path = _locate(text, sources, insecure=insecure)
    with Registry(place, read_logins()) as registry:
        yield registry, path


@contextmanager
def open_writer(text: str, sources: Sources, *, insecure: bool) -> Iterator[Writer]:
    """Yield the registry of `registry.example/team`, to write: only one who may push there is let in.

    Raises RegistryError.
    """
    from builder.logins import read_logins
    from builder.registry.writing import Writer

    place, _ = _locate(text, sources, insecure=insecure)
    with Writer(place, read_logins()) as writer:
        yield writer


def _locate(text: str, sources: Sources, *, insecure: bool) -> tuple[Place, str]:
    from builder.registry.place import find_place, split_registry

    host, path = split_registry(text)
    return find_place(host, sources, insecure=insecure), path


def write_output(text: str, path: Path | None) -> None:
    """Print a text as it is; with a path, write it there, all of it or nothing. Raises ImgbuildError."""
    from builder.files import write_whole

    if path is None:
        click.echo(text, nl=False)
        return
    try:
        write_whole(path, text)
    except OSError as error:
        raise ImgbuildError(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def end_on_signals() -> Iterator[None]:
    """Let SIGTERM end what runs as Ctrl-C does, so that it can tidy up."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def redacted(sources: Sources) -> Iterator[None]:
    """Keep credentials and mirrors out of what a failure says, whoever wrote it."""
    try:
        yield
    except ImgbuildError as error:
        error.message, error.hint = sources.redact(error.message), error.hint and sources.redact(error.hint)
        raise


def say_local_indexes(sources: Sources, progress: Progress) -> None:
    """Say which of this machine's indexes the build cannot use."""
    if sources.pip.local:
        progress.note(f"not used, a build cannot reach this machine's disk: {', '.join(sources.pip.local)}")
