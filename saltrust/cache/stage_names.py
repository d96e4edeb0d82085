"""What protocol A calls the stages of InceptionV3: Keras's names of its blocks."""

from __future__ import annotations

from collections.abc import Sequence

#: By the name of the module, as torchvision and timm have it.
_INCEPTION = {
    **{f"Mixed_{block}": f"mixed{number}" for number, block in enumerate(
        ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"))},
    # Random down to its first convolution, the whole stem is.
    "Conv2d_1a_3x3": "stem",
}


def paper_stages(names: Sequence[str]) -> dict[str, str]:
    """The paper's names of stages that have one.

    Parameters
    ----------
    names : sequence of str
        Stages of one network, such as the labels of ``/randomization``.

    Returns
    -------
    dict of str to str
        By the name of the stage; empty where no stage is one of InceptionV3.

    References
    ----------
    N. Arun et al. (2021), Radiol. Artif. Intell. 3(6), e200267, Fig. 3.

    Examples
    --------
    >>> paper_stages(["fc", "Mixed_7c", "backbone.Mixed_5b", "Conv2d_1a_3x3"])
    {'fc': 'logits', 'Mixed_7c': 'mixed10', 'backbone.Mixed_5b': 'mixed0', 'Conv2d_1a_3x3': 'stem'}
    >>> paper_stages(["fc", "layer4"])
    {}
    """
    last = {name: name.rpartition(".")[2] for name in names}
    if not any(part in _INCEPTION for part in last.values()):
        return {}
    known = {"fc": "logits", **_INCEPTION}
    return {name: known[part] for name, part in last.items() if part in known}
