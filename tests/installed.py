"""Distributions of our own making, installed in a virtual environment."""

import subprocess
import sys
from pathlib import Path


def make_environment(folder: Path, distributions: dict[str, str]) -> Path:
    """Make a virtual environment below `folder`, with a distribution for each module, by its name
    with its source; return where it is.
    """
    folder.chmod(0o755)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    (site,) = (folder / "venv" / "lib").glob("python3*/site-packages")
    for name, source in distributions.items():
        (site / f"{name}.py").write_text(source)
        info = site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "RECORD").write_text(f"{name}.py,,\n{info.name}/METADATA,,\n{info.name}/RECORD,,\n")
    return folder / "venv"
