"""JupyterLab answers on its port, to those alone who have its token, and does not start as root."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from verdict import Failed, run_checks

PORT = 8889  # not that of the image's own command
TOKEN = "a-token-of-this-check"
PATIENCE = 60


def jupyter_lab(expected):
    """The server starts offline, refuses who has no token, and serves the others."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", f"--port={PORT}", "--ServerApp.port_retries=0"]
        variables = dict(os.environ, JUPYTER_TOKEN=TOKEN, HOME=folder)
        with open(os.path.join(folder, "log"), "w+", encoding="utf-8") as log:
            server = subprocess.Popen(command, cwd=folder, env=variables, stdout=log, stderr=log)
            try:
                version = wait_for_version(server)
                if ask("/api/contents") != 403:
                    raise Failed("the server lists files for somebody who has no token")
                if ask("/lab", TOKEN) != 200 or ask("/api/contents", TOKEN) != 200:
                    raise Failed("the server does not serve somebody who has its token")
            except TimeoutError:
                log.seek(0)
                raise Failed(f"the server does not answer: {log.read()[-500:]}") from None
            finally:
                server.terminate()
                server.wait()
    return f"jupyter-server {version}"


def no_root(expected):
    """The image's command is JupyterLab, which refuses to be started as root."""
    if shutil.which("jupyter-lab") != os.path.join(expected["prefix"], "bin", "jupyter-lab"):
        raise Failed("jupyter-lab is not the environment's own")
    from jupyter_server.serverapp import ServerApp

    if ServerApp.allow_root.default_value:
        raise Failed("the server would start as root")
    return "refused"


def wait_for_version(server):
    """Return the version of a server that has just been started; raise TimeoutError when it never answers."""
    for _ in range(PATIENCE * 5):
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/api", timeout=5) as reply:
                return json.load(reply)["version"]
        except OSError:
            time.sleep(0.2)
    raise TimeoutError


def ask(path, token=""):
    """Return the status with which the server answers."""
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", headers={"Authorization": f"token {token}"})
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code


run_checks([jupyter_lab, no_root])
