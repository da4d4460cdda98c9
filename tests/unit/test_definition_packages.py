from __future__ import annotations

import pytest
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from builder.definition_packages import name_pip


@pytest.mark.parametrize("name", ["tqdm", "Foo.-_Bar1", "7", "a.", "-a", "a b", "a[gpu]"])
@pytest.mark.parametrize("operator", ["==", "!=", "<", "<=", ">", " >= ", "~=", "===", "=", "<>"])
def test_pip_requirements_have_the_names_that_packaging_reads(name: str, operator: str) -> None:
    versions = ("1", "2.0", "1.2.3", "1.*", "1.", "1rc1", "1,<3", "1 , != 2.1", "1,,2", "1 ==2", "")
    for spec in (name, *(name + operator + version for version in versions)):
        try:
            expected = canonicalize_name(Requirement(spec).name)
        except InvalidRequirement:
            with pytest.raises(InvalidRequirement):
                name_pip(spec)
        else:
            assert name_pip(spec) == expected, spec
