"""Which variables a definition may give its image."""

from __future__ import annotations

import pytest

from builder.definition_env import read_env
from builder.definition_values import BadValuesError


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            "HF_TOKEN PGPASSWORD SSHPASS DB_PASS MYSQL_PWD GITHUB_PAT SSH_PRIVATE_KEY PASSPHRASE",
            "looks like a secret",
        ),
        (
            "CONDARC NETRC UV_DEFAULT_INDEX UV_INDEX_URL UV_FIND_LINKS GIT_SSL_CAINFO NODE_EXTRA_CA_CERTS PIP_CERT",
            "is not for a definition to set",
        ),
    ],
)
def test_secrets_and_settings_of_a_machine_are_refused(names: str, words: str) -> None:
    variables = dict.fromkeys(names.split(), "x")
    with pytest.raises(BadValuesError) as caught:
        read_env(variables)
    assert [fault.message for fault in caught.value.faults] == [f"{name} {words}" for name in variables]


@pytest.mark.parametrize(
    "name", ["UV_INDEX_STRATEGY", "TOKENIZERS_PARALLELISM", "OLDPWD", "BYPASS", "OMP_NUM_THREADS", "HF_HOME"]
)
def test_other_names_are_taken(name: str) -> None:
    assert read_env({name: "x"}) == ((name, "x"),)


@pytest.mark.parametrize(("name", "text"), [("MAX_TOKENS", "128000"), ("DISABLE_IMPLICIT_TOKEN", "1"), ("TOKEN", "")])
def test_values_that_log_nobody_in_are_taken(name: str, text: str) -> None:
    assert read_env({name: text}) == ((name, text),)
