"""What was given, and where: the form in which the environment and files arrive before they are checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from exporter.settings.problems import Problem

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Given:
    """A text that was given for a setting. ``name`` is the name that was used (an older name, or ``<NAME>_FILE``).

    Paths in it are relative to ``base``. The text may be a secret, so it is not part of this object's own text.
    """

    name: str
    text: str
    place: str
    base: Path

    def __repr__(self) -> str:
        return f"Given({self.name!r} from {self.place!r})"

    def problem(self, why: str, fix: str = "") -> Problem:
        """A problem with what was given here."""
        return Problem(setting=self.name, place=self.place, why=why, fix=fix)


def read_secret_file(given: Given) -> Given | Problem:
    """The secret in the file that ``given`` names, without line breaks at its end, or what is wrong with the file."""
    try:
        text = (given.base / given.text).read_bytes().decode("utf-8-sig").rstrip("\r\n")
    except FileNotFoundError:
        return given.problem("The file does not exist.", "Create it, or correct the path.")
    except UnicodeDecodeError:
        return given.problem("The file is not UTF-8 text.", "Put only the secret into it.")
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or "not a path"
        return given.problem(
            f"The file cannot be read: {cause}.",
            "Let the exporter's user read it, or correct the path.",
        )
    if not text.strip():
        return given.problem("The file is empty.", "Put the secret into it.")
    return Given(name=given.name, text=text, place=given.place, base=given.base)


def one_secret(plain: Given | None, file: Given | None) -> Given | Problem | None:
    """The secret that was given either as it is or as the name of a file; None without either."""
    if plain is not None and file is not None:
        return file.problem(
            f"{plain.name} ({plain.place}) is set too.",
            "Set only one of the two.",
        )
    return plain if file is None else read_secret_file(file)


def checked(
    model: type[_Model], given: Mapping[str, Given], **ready: BaseModel | tuple[BaseModel, ...]
) -> _Model | list[Problem]:
    """An object of ``model`` from texts (by field name) and fields that are ready, or all that is wrong with them."""
    try:
        return model.model_validate({name: value.text for name, value in given.items()} | ready)
    except ValidationError as error:
        return [
            given[str(each["loc"][0])].problem(each["ctx"]["why"], each["ctx"]["fix"])
            for each in error.errors(include_url=False, include_input=False)
        ]
