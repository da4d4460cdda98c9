"""In the image: which package each file of the environment belongs to, as one line of JSON. It judges nothing."""

import json
import sys

from claims import assign_files, describe_conda, describe_wheel, list_files
from records import list_owned, list_wheels, read_packages


def main():
    """Print the inventory of the environment whose Python runs this."""
    packages = read_packages()
    wheels = list_wheels(list_owned(packages))
    claims = [describe_conda(package) for package in packages]
    claims += [describe_wheel(*wheel) for wheel in wheels]
    owned, unclaimed = assign_files(*list_files(sys.prefix), claims)
    line = json.dumps({"prefix": sys.prefix, "packages": owned, "unclaimed": unclaimed})
    print(f"\n{line}", flush=True)  # on a line of its own, whatever a package printed before


if __name__ == "__main__":
    main()
