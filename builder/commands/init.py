"""`imgbuild init`: a definition from the file of another tool."""

from __future__ import annotations

from pathlib import Path

import click

from builder.errors import DefinitionError, ImgbuildError


@click.command()
@click.argument("name")
@click.option(
    "--from",
    "source",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    required=True,
    help="environment.yml, requirements.txt, pixi.toml or pyproject.toml.",
)
@click.option(
    "--base",
    metavar="KEY",
    help="A key of images/bases.yaml.  [default: miniconda where the channels are Anaconda's own, else miniforge]",
)
@click.pass_obj
def init(folder: Path | None, name: str, source: Path, base: str | None) -> None:
    """Write images/NAME/image.yaml from what you have, and say of each line that has no place in it, why.

    What is there already is never overwritten.
    """
    from builder.adopt.definition_text import write_definition
    from builder.adopt.files import read_wishes
    from builder.definition import FILE_NAME, load_definition
    from builder.definition_values import BadValueError, read_name, suggest
    from builder.files import write_whole
    from builder.project import list_bases
    from builder.shown import show

    images = (folder or Path.cwd()) / "images"
    try:
        target = images / read_name(name) / FILE_NAME
    except BadValueError as error:
        raise click.BadParameter(f"{error.message}: {error.hint}", param_hint="NAME") from None
    if target.exists():
        raise ImgbuildError(f"{target} is there already", hint="choose another name, or remove it.")
    if base and base not in (bases := list_bases(images)):
        raise click.BadParameter(f"{base} is not a key of bases.yaml: {suggest(base, bases)}", param_hint="--base")
    wishes = read_wishes(source)
    text = write_definition(name, wishes, base=base or wishes.base, origin=source.name)
    made = [it for it in (target.parent, images) if not it.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, text)
    except OSError as error:
        raise ImgbuildError(f"cannot write {target}: {error.strerror}") from error
    try:
        load_definition(target)
    except DefinitionError as error:
        target.unlink()
        for it in made:
            it.rmdir()
        message = f"{source} asks for what a definition cannot say: {error.message}"
        raise DefinitionError(message, hint=error.hint, path=source) from error
    for place, what, why in wishes.left:
        click.echo(show(f"{place.path}:{place.line}: left out: {what}: {why}"), err=True)
    click.echo(str(target))
