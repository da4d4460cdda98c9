"""The image's command is a JupyterLab that serves those alone who have its token, and does not start as root."""

import contextlib
import glob
import json
import os
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from verdict import Failed, run_checks

PATIENCE = 60
SHOWN = 500  # characters of what a server said
AS_ROOT = "import os\nos.geteuid = lambda: 0\n"  # what a check cannot be, for the server's Python to begin with


def jupyter_lab(expected):
    """The server starts offline, refuses who has no token, and serves the others."""
    with start_server(expected) as (server, folder):
        told = wait_for_server(server, folder)
        if not told:
            raise Failed(f"the server does not answer: {read_log(folder)}")
        if ask(told, "/api/contents") != 403:
            raise Failed("the server lists files for somebody who has no token")
        if ask(told, "/lab", told["token"]) != 200 or ask(told, "/api/contents", told["token"]) != 200:
            raise Failed("the server does not serve somebody who has its token")
    return f"jupyter-server {told['version']} on port {told['port']}"


def no_root(expected):
    """The server refuses to be started as root."""
    with start_server(expected, begin_with=AS_ROOT) as (server, folder):
        if wait_for_server(server, folder):
            raise Failed("the server would start as root")
        said = read_log(folder)
        if not server.returncode or "as root" not in said:
            raise Failed(f"the server ended with {server.returncode}, and says nothing of root: {said}")
    return "refused"


@contextlib.contextmanager
def start_server(expected, begin_with=""):
    """Yield the server that the image's command starts, and the folder that is its home.

    An image that extends jupyter may have another command: there JupyterLab is what a user starts by hand.
    """
    command = expected["command"] if expected["command"][:1] == ["jupyter"] else ["jupyter", "lab", "--no-browser"]
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "sitecustomize.py"), "w", encoding="utf-8") as file:
            file.write(begin_with)
        variables = dict(os.environ, HOME=folder, JUPYTER_RUNTIME_DIR=folder, PYTHONPATH=folder)
        with open(os.path.join(folder, "log"), "wb") as log:
            server = subprocess.Popen(command, env=variables, stdout=log, stderr=log)
        try:
            yield server, folder
        finally:
            server.kill()
            server.wait()


def wait_for_server(server, folder):
    """Return what a server tells of itself, with its version, once it answers; None when it has ended, or never does.

    The file is jupyter_server's, by which `jupyter server list` finds the servers that run.
    """
    for _ in range(PATIENCE * 5):
        if server.poll() is not None:
            return None
        for path in glob.glob(os.path.join(folder, "jpserver-*.json")):
            with contextlib.suppress(OSError, ValueError):  # it is being written, nobody listens yet
                with open(path, encoding="utf-8") as file:
                    told = json.load(file)
                with urllib.request.urlopen(f"http://127.0.0.1:{told['port']}/api", timeout=5) as reply:
                    return dict(told, version=json.load(reply)["version"])
        time.sleep(0.2)
    return None


def ask(told, path, token=""):
    """Return the status with which the server answers."""
    request = urllib.request.Request(f"http://127.0.0.1:{told['port']}{path}")
    if token:
        request.add_header("Authorization", f"token {token}")
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code


def read_log(folder):
    """Return the end of what a server said."""
    with open(os.path.join(folder, "log"), encoding="utf-8", errors="replace") as file:
        return file.read().strip()[-SHOWN:]


if __name__ == "__main__":
    run_checks([jupyter_lab, no_root])
