"""Which libraries an architecture may come from: ``timm:NAME``, ``hf:FOLDER`` and the like.

A library is one module of this folder and one line of :data:`LIBRARIES`.  The module has

``is_known(name)`` and ``names()``
    whether it builds an architecture, and all that it does, for the nearest to a misspelled one;
``build(name, n_outputs, **arguments)``
    the network, with random weights: nothing is downloaded.  It sets the attribute
    ``preprocessing`` and, where outputs are not plain logits, ``output`` (a dict with any of
    ``kind``, ``findings`` and ``select``);

and, where it knows what published weights predict, ``findings(name, tensors)``.  It is imported,
and the library with it, when one of its architectures is asked for.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from saltrust.errors import UsageError, nearest
from saltrust.models.torchvision_operators import import_torchvision


@dataclass(frozen=True)
class Library:
    """One library.

    Attributes
    ----------
    module : str
        Module of this folder.
    package : str
        What has to be installed.
    extra : str
        Of saltrust, which installs it.
    """

    module: str
    package: str
    extra: str


LIBRARIES = {
    "timm": Library("timm_models", "timm", "timm"),
    "torchvision": Library("torchvision_models", "torchvision", "generate"),
    "monai": Library("monai_networks", "monai", "monai"),
    "torchxrayvision": Library("xray_models", "torchxrayvision", "torchxrayvision"),
    "hf": Library("huggingface", "transformers", "hf"),
}

#: Arguments that say how many outputs there are.
_OUTPUT_COUNTS = ("num_classes", "out_channels", "num_labels")
#: Arguments by which libraries fetch weights or turn logits into something else.
_NOT_TAKEN = ("pretrained", "weights", "weights_backbone", "checkpoint_path", "cache_dir",
              "op_threshs", "apply_sigmoid", "trust_remote_code", *_OUTPUT_COUNTS)


def is_of_library(architecture: str) -> bool:
    """Whether an architecture is named by its library.

    Examples
    --------
    >>> is_of_library("timm:resnet18"), is_of_library("mynet:resnet18"), is_of_library("resnet18")
    (True, False, False)
    """
    return ":" in architecture and architecture.partition(":")[0] in LIBRARIES


def library_factory(architecture: str) -> Callable[..., nn.Module]:
    """A function ``(n_outputs, **arguments)`` that builds an architecture of a library.

    Parameters
    ----------
    architecture : str
        ``library:name``, of :data:`LIBRARIES`.

    Raises
    ------
    UsageError
        If the library is not installed, or has no such architecture.
    """
    library, _, name = architecture.partition(":")
    module = _module(library, f"architecture {architecture!r}")
    if not module.is_known(name):
        raise UsageError(f"architecture {architecture!r}: {library} has no classifier {name!r}; "
                         f"{_nearest(name, module.names())}")
    return functools.partial(_build, module, architecture, name)


def located(architecture: str, folder: Path) -> str:
    """An architecture with the folder it names, if it names one, as seen from a study.

    Parameters
    ----------
    architecture : str
        As the study says it.
    folder : pathlib.Path
        Where the study file is.

    Examples
    --------
    >>> located("hf:nets/vit", Path("/study")), located("timm:resnet18", Path("/study"))
    ('hf:/study/nets/vit', 'timm:resnet18')
    """
    library, colon, name = architecture.partition(":")
    if colon and library == "hf":
        return f"hf:{folder / Path(name).expanduser()}"
    return architecture


def published_findings(architecture: str, tensors: Mapping[str, Tensor]) -> list[str] | None:
    """What the outputs of published weights of a library are, where it says so.

    Parameters
    ----------
    architecture : str
    tensors : mapping of str to Tensor
        Of the file.

    Returns
    -------
    list of str or None
        By position; empty for an output that was not trained.  None where nothing is known.
    """
    library, _, name = architecture.partition(":")
    if not is_of_library(architecture):
        return None
    known = getattr(_module(library, f"architecture {architecture!r}"), "findings", None)
    findings: list[str] | None = known(name, tensors) if known else None
    return findings


def _module(library: str, what: str) -> ModuleType:
    entry = LIBRARIES[library]
    if importlib.util.find_spec(entry.package) is None:
        raise UsageError(f"{what} needs {entry.package}, which is not installed: install the "
                         f"extra, `pip install saltrust[{entry.extra}]`")
    # All of them import torchvision, whose operators must be declared by then.
    import_torchvision()
    # Their own warnings are about releases to come; one of them turns off all warnings for good.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            importlib.import_module(entry.package)
        except Exception as error:
            raise UsageError(f"{what}: {entry.package} cannot be imported ({_reason(error)}); "
                             "install the version that belongs to the installed torch") from error
        return importlib.import_module(f"{__package__}.{entry.module}")


def _build(module: ModuleType, architecture: str, name: str, n_outputs: int,
           **arguments: Any) -> nn.Module:
    for argument in _NOT_TAKEN:
        if argument in arguments and arguments.pop(argument):
            way_out = ("there is one output per finding" if argument in _OUTPUT_COUNTS else
                       "give weights as a local file, `checkpoint` or `pretrained` of the model, "
                       "and leave logits as they are")
            raise UsageError(f"architecture {architecture!r} does not take the argument "
                             f"{argument!r}: {way_out}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            network: nn.Module = module.build(name, n_outputs, **arguments)
        except ImportError as error:
            raise UsageError(f"architecture {architecture!r} needs a package that is not installed "
                             f"({_reason(error)}): install it") from error
        except (ValueError, RuntimeError, AssertionError, KeyError, AttributeError) as error:
            raise UsageError(f"architecture {architecture!r} cannot be built with the arguments "
                             f"{arguments} ({_reason(error)}); correct `arguments` of the "
                             "model") from error
    return network


def _nearest(name: str, names: list[str]) -> str:
    hint = nearest(name, names)
    # Libraries have hundreds of names.
    return hint if hint.startswith("did") else f"some it has: {', '.join(names[:8])}, ..."


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
