"""ImageNet weights: a file that was given, one that was fetched before, or one that the library's hub has; no waiting.

The hub's own client tries for 46 s before it says that there is no network (measured), so its address is asked first.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

from scopeline.errors import ConfigError
from scopeline_training.shim import make_torchvision_importable

make_torchvision_importable()
import huggingface_hub  # noqa: E402
import timm  # noqa: E402

PATIENCE_S = 3.0
"""How long the hub may take to answer."""
_FILE = "model.safetensors"


def weights_file(model: str, weights: str, *, endpoint: str | None = None) -> Path | None:
    """The file with a model's weights, None to start from scratch.

    Args:
        model: timm's name of it.
        weights: `none`, `imagenet`, or the path of a file.
        endpoint: Address of the hub; the library's own if None.

    Raises:
        ConfigError: there is no such file, or the hub does not answer or has no weights of this model.
    """
    if weights == "none":
        return None
    if weights != "imagenet":
        file = Path(weights)
        if not file.is_file():
            raise ConfigError(
                f"weights: wanted 'none', 'imagenet' or a file of weights of {model}, found no file at {weights}"
            )
        return file
    repository = timm.get_pretrained_cfg_value(model, "hf_hub_id")
    if not isinstance(repository, str):
        raise ConfigError(f"weights: the library has no ImageNet weights of {model}; use weights = 'none'")
    known = huggingface_hub.try_to_load_from_cache(repository, _FILE)
    if isinstance(known, str):
        return Path(known)
    _ask(huggingface_hub.hf_hub_url(repository, _FILE, endpoint=endpoint), model, repository)
    return Path(huggingface_hub.hf_hub_download(repository, _FILE, endpoint=endpoint))


def _ask(address: str, model: str, repository: str) -> None:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=PATIENCE_S):
            return
    except (urllib.error.URLError, OSError) as error:
        raise ConfigError(
            f"weights: ImageNet weights of {model} were asked for, and the hub that has them cannot be reached "
            f"({error}). Fetch {_FILE} of {repository} elsewhere and name it with --weights FILE, or train from "
            "scratch with weights = 'none'"
        ) from error
