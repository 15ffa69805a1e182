"""The folders at the top become one import package: `engine/` is `patchline.engine`, with every room that lies in it.

All else stands in `pyproject.toml`. Rooms are found here, because setuptools can find packages only under the names of
their folders, and a list by hand would forget a new room in the wheel.
"""

from setuptools import find_packages, setup

FOLDERS = ("engine", "stream", "ops")

setup(
    packages=[f"patchline.{room}" for folder in FOLDERS for room in find_packages(include=(folder, f"{folder}.*"))],
    package_dir={f"patchline.{folder}": folder for folder in FOLDERS},
)
