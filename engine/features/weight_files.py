"""Where a backbone's weights lie: nothing is imported to be found, and little is fetched.

A recipe names weights in one of four ways. `file:PATH` is a state dict in safetensors or PyTorch's format, and
`package:NAME` the one such file in an installed package. `random:SEED` are random numbers drawn from seed and tensor's
name, for tests. Any other text is the library's own name for its weights.

A recipe may have come with a bank from elsewhere. So no package is imported to be looked into, and timm's weights are
fetched from the Hugging Face Hub only where this process allows it by name; torchvision's come from one place, and are
few.
"""

import importlib.util
from collections.abc import Collection
from pathlib import Path

import torch
import torchvision

from patchline.engine.errors import WeightsError, shown
from patchline.engine.recipe import Backbone

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
HUB_FILE = "model.safetensors"


def hub_name(spec: Backbone) -> str:
    """timm's name of a backbone with its weights, as `engine.hub_weights` in the settings allows them."""
    return f"{spec.name}.{spec.weights}"


def locate(spec: Backbone, fetch: Collection[str] = ()) -> Path:
    """The file that holds a backbone's weights; torchvision's named weights are downloaded at first use.

    Args:
        spec: the backbone, of any origin.
        fetch: names (`hub_name`) of timm's weights that may be downloaded too, where they are not on this machine.

    Raises:
        WeightsError: there is no such file, package or name, or it would have to be downloaded and may not.
    """
    kind, colon, value = spec.weights.partition(":")
    if kind == "file":
        try:
            return Path(value).expanduser()
        except RuntimeError as error:
            raise WeightsError(f"weights {shown(spec.weights)}: {error}") from error
    if kind == "package":
        return package_file(value)
    if colon:
        raise WeightsError(
            f"weights {shown(spec.weights)}: {shown(kind)} is no place to take weights from; expected file:PATH, "
            f"package:NAME, or the library's own name of its weights"
        )
    if spec.library == "timm":
        return _timm_file(spec, fetch)
    return _torchvision_file(spec)


def _torchvision_file(spec: Backbone) -> Path:
    try:
        url = str(torchvision.models.get_model_weights(spec.name)[spec.weights].url)
    except (KeyError, ValueError) as error:
        raise WeightsError(f"weights {spec.weights!r}: torchvision has none of that name for {spec.name}") from error
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rpartition("-")[2], progress=False)
        except (OSError, RuntimeError) as error:  # RuntimeError: the download has another hash than its name
            raise WeightsError(f"weights {spec.weights!r} of {spec.name}: no download from {url}: {error}") from error
    return path


def _timm_file(spec: Backbone, fetch: Collection[str]) -> Path:
    from huggingface_hub import hf_hub_download
    from timm.models import get_pretrained_cfg

    name = hub_name(spec)
    try:
        config = get_pretrained_cfg(name)
    except RuntimeError:  # it knows the backbone, and not the weights
        config = None
    if config is None or not config.hf_hub_id:
        raise WeightsError(f"weights {shown(spec.weights)}: timm has none of that name for {shown(spec.name)}")
    repository = config.hf_hub_id if config.hf_hub_id != "timm/" else f"timm/{name}"
    try:
        return Path(hf_hub_download(repository, HUB_FILE, local_files_only=name not in fetch))
    except OSError as error:
        if name in fetch:
            raise WeightsError(f"weights {spec.weights!r} of {spec.name} cannot be downloaded: {error}") from error
        raise WeightsError(
            f"weights {spec.weights!r} of {spec.name}: not on this machine, and a bank may not have them downloaded by "
            f"itself; download them (`hf download {repository} {HUB_FILE}`), or allow it by "
            f"engine.hub_weights: [{name}] in the settings"
        ) from error


def package_file(package: str) -> Path:
    """The one weights file inside an installed package, which is not imported.

    Raises:
        WeightsError: the package is not installed, or does not hold exactly one weights file.
    """
    if not package.isidentifier():  # a package inside another would be looked for by importing that
        raise WeightsError(
            f"weights package:{shown(package)[1:-1]}: expected the name of an installed package, without a dot"
        )
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # what is running, as `__main__`, has no file to be looked into
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(
            f"weights package:{package}: no such package is installed; install {package.replace('_', '-')}"
        )
    files = [
        path
        for folder in spec.submodule_search_locations
        for path in sorted(Path(folder).rglob("*"))
        if path.suffix in SUFFIXES
    ]
    if len(files) != 1:
        raise WeightsError(f"weights package:{package}: expected one weights file, found {len(files)}")
    return files[0]
