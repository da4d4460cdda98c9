"""What a definition and a base may say in YAML: pydantic models, and pydantic's complaints turned into ours.

Fields that may be left out (an image can inherit them) are None then; a key without a value is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, TypeVar

from packaging.version import Version
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)

from builder.compat import Source
from builder.definition_packages import (
    name_apt,
    name_conda,
    name_pip,
    read_apt_spec,
    read_channel,
    read_conda_spec,
    read_pip_spec,
)
from builder.definition_values import (
    BadValueError,
    TorchRequest,
    read_arch,
    read_command,
    read_cuda,
    read_digest,
    read_env,
    read_flag,
    read_list,
    read_name,
    read_python,
    read_source,
    read_text,
    read_torch,
    read_version,
    refuse_repeats,
    suggest,
)
from builder.definition_yaml import Document, Location, Value, quote
from builder.errors import DefinitionError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MAX_LISTED = 6
"""How many errors of one file are told at once: they and their hints should fit on a screen."""

Text = Annotated[str, PlainValidator(read_text)]
Name = Annotated[str, PlainValidator(read_name)]
Flag = Annotated[bool, PlainValidator(read_flag)]
Items = BeforeValidator(read_list)
Once = AfterValidator(refuse_repeats(lambda item: item))

Pythons = Annotated[tuple[Annotated[Version, PlainValidator(read_python)], ...], Items, Once]
Cudas = Annotated[tuple[Annotated[Version | None, PlainValidator(read_cuda)], ...], Items, Once]
Sources = Annotated[tuple[Annotated[Source, PlainValidator(read_source)], ...], Items, Once]
Channels = Annotated[tuple[Annotated[str, PlainValidator(read_channel)], ...], Items, Once]
Arches = Annotated[tuple[Annotated[str, PlainValidator(read_arch)], ...], Items, Once]
CondaSpecs = Annotated[
    tuple[Annotated[str, PlainValidator(read_conda_spec)], ...], Items, AfterValidator(refuse_repeats(name_conda))
]
PipSpecs = Annotated[
    tuple[Annotated[str, PlainValidator(read_pip_spec)], ...], Items, AfterValidator(refuse_repeats(name_pip))
]
AptSpecs = Annotated[
    tuple[Annotated[str, PlainValidator(read_apt_spec)], ...], Items, AfterValidator(refuse_repeats(name_apt))
]


class _Strict(BaseModel):
    may_be_null: ClassVar[tuple[str, ...]] = ()

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @classmethod
    def list_keys(cls) -> list[str]:
        """Return the keys that YAML may have here."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @model_validator(mode="before")
    @classmethod
    def refuse_empty(cls, value: object) -> object:
        """Return the value when no key of it is empty: only a key that is left out means the default."""
        if not isinstance(value, dict):
            raise BadValueError("is not a mapping", "write  key: value  lines under it")
        for key in cls.list_keys():
            if key in value and value[key] is None and key not in cls.may_be_null:
                raise BadValueError("has no value", "write one, or remove the line", (key,))
        return value


class MatrixSchema(_Strict):
    """The axes: every cell of the image is one Python on one CUDA, with the torch that fits."""

    python: Pythons | None = None
    cuda: Cudas | None = None
    torch: Annotated[TorchRequest, PlainValidator(read_torch)] | None = None


class ImageSchema(_Strict):
    """images/<name>/image.yaml."""

    name: Name
    extends: Name | None = None
    base: Text | None = None
    matrix: MatrixSchema = Field(default_factory=MatrixSchema)
    channels: Channels | None = None
    accept_anaconda_terms: Annotated[Flag | None, Field(alias="accept-anaconda-terms")] = None
    torch_source: Annotated[Sources | None, Field(alias="torch-source")] = None
    arches: Arches | None = None
    conda: CondaSpecs = ()
    pip: PipSpecs = ()
    apt: AptSpecs = ()
    env: Annotated[tuple[tuple[str, str], ...], PlainValidator(read_env)] = ()


class BaseSchema(_Strict):
    """One base image of images/bases.yaml."""

    may_be_null = ("digest",)

    ref: Text
    digest: Annotated[str, PlainValidator(read_digest)] | None = None
    conda: Text
    create: Annotated[str, PlainValidator(read_command)]
    install: Annotated[str, PlainValidator(read_command)]
    clean: Text
    environment: Annotated[tuple[tuple[str, str], ...], PlainValidator(read_env)] = ()
    pkgs_dir: Text
    glibc: Annotated[Version, PlainValidator(read_version)]


Schema = TypeVar("Schema", bound=_Strict)


def check_document(schema: type[Schema], document: Document, value: Value, location: Location = ()) -> Schema:
    """Return the value at a location of a document as a schema. Raises DefinitionError with every fault in it."""
    try:
        return schema.model_validate(value)
    except ValidationError as failure:
        raise join_errors(
            [_explain(schema, document, location, error) for error in failure.errors(include_url=False)]
        ) from None


def join_errors(errors: list[DefinitionError]) -> DefinitionError:
    """Return one error that tells them all, in the order of their lines; of many, the first `MAX_LISTED`."""
    first, *others = sorted(errors, key=lambda error: error.line or 0)
    if not others:
        return first
    told = [first, *others[: MAX_LISTED - 1]]
    rest = [f"and {len(errors) - len(told)} more below"] if len(errors) > len(told) else []
    *blocks, last = told
    text = "\n".join([*map(str, blocks), *rest, f"{last.path}:{last.line}: {last.message}"])
    where = f"{first.path}:{first.line}: "
    return DefinitionError(text.removeprefix(where), hint=last.hint, path=first.path, line=first.line)


def _explain(schema: type[_Strict], document: Document, start: Location, error: ErrorDetails) -> DefinitionError:
    """Return a complaint of pydantic's as ours: where, what, and what to write."""
    location: Location = (*start, *error["loc"])
    match error["type"]:
        case "value_error":
            cause = error["ctx"]["error"]
            location += cause.at
            message, hint = cause.message, cause.hint
        case "extra_forbidden":
            message = _prefix(location[:-1], f"unknown key {quote(str(location[-1]))}")
            return document.refuse(location, message, _suggest_key(schema, error["loc"]))
        case "missing":
            message, hint = "is missing", f"add  {location[-1]}: …"
        case _:
            message, hint = error["msg"], "see the definition's reference in the README"
    return document.refuse(location, _prefix(location, message), hint)


def _prefix(location: Location, message: str) -> str:
    """Return the message with the keys that lead to its place: `matrix.python: …`."""
    keys = ".".join(key for key in location if isinstance(key, str))
    return f"{keys}: {message}" if keys else message


def _suggest_key(schema: type[_Strict], location: Location) -> str:
    """Return a hint for an unknown key: where it belongs if another level has it, else the nearest known key."""
    key, top, axes = str(location[-1]), ImageSchema.list_keys(), MatrixSchema.list_keys()
    if len(location) == 1 and schema is ImageSchema and key in axes:
        return f"{key}: belongs under matrix:"
    if len(location) == 2 and key in top:
        return f"{key}: belongs at the top level, not under matrix:"
    return suggest(key, axes if len(location) == 2 else schema.list_keys())
