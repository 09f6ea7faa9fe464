"""Nothing leaves the machine: below Python too, for the engines are native code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.starter import PAIR, ROOT, Run

# Preloaded before every other library: writes down what asks for the network and refuses it.
SHIM = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static int leaves(const char *call, const struct sockaddr *to) {
    if (!to || (to->sa_family != AF_INET && to->sa_family != AF_INET6)) return 0;
    if (to->sa_family == AF_INET &&
        (ntohl(((const struct sockaddr_in *)to)->sin_addr.s_addr) >> 24) == 127) return 0;
    if (to->sa_family == AF_INET6 &&
        IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)to)->sin6_addr)) return 0;
    FILE *log = fopen(getenv("NETWORK_LOG"), "a");
    if (log) { fprintf(log, "%s\n", call); fclose(log); }
    errno = ENETUNREACH;
    return 1;
}
int connect(int fd, const struct sockaddr *to, socklen_t size) {
    if (leaves("connect", to)) return -1;
    return ((int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect"))
        (fd, to, size);
}
ssize_t sendto(int fd, const void *data, size_t n, int flags, const struct sockaddr *to,
               socklen_t size) {
    if (leaves("sendto", to)) return -1;
    return ((ssize_t (*)(int, const void *, size_t, int, const struct sockaddr *, socklen_t))
        dlsym(RTLD_NEXT, "sendto"))(fd, data, n, flags, to, size);
}
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **result) {
    struct in6_addr number;
    int is_number = node && (inet_pton(AF_INET, node, &number) == 1 ||
                             inet_pton(AF_INET6, node, &number) == 1);
    if (node && !is_number && strcmp(node, "localhost")) {
        FILE *log = fopen(getenv("NETWORK_LOG"), "a");
        if (log) { fprintf(log, "getaddrinfo %s\n", node); fclose(log); }
        return EAI_FAIL;
    }
    return ((int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))
        dlsym(RTLD_NEXT, "getaddrinfo"))(node, service, hints, result);
}
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not sys.platform.startswith("linux"):
        pytest.skip("preloading is done Linux's way here")
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler, "llama.cpp was compiled, so there is a compiler"
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", folder / "shim.so", folder / "shim.c", "-ldl"],
        check=True,
    )
    return folder / "shim.so"


def watched(shim: Path, log: Path) -> dict[str, str]:
    return {"LD_PRELOAD": str(shim), "NETWORK_LOG": str(log)}


def test_the_shim_sees_what_leaves(shim: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = (
        "import contextlib, socket\n"
        "for call in (lambda: socket.create_connection(('192.0.2.1', 9), 1),\n"
        "             lambda: socket.getaddrinfo('example.org', 80),\n"
        "             lambda: socket.socket(2, 2).sendto(b'x', ('192.0.2.1', 9)),\n"
        "             lambda: socket.create_connection(('127.0.0.1', 1), 1)):\n"
        "    with contextlib.suppress(OSError): call()\n"
    )
    subprocess.run([sys.executable, "-c", code], env=watched(shim, log), check=True)
    calls = [line.split()[0] for line in log.read_text().splitlines()]
    assert calls == ["connect", "getaddrinfo", "sendto"]


def test_ask_asks_nobody(edge_et: Run, example: dict[str, Any], shim: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = edge_et(
        "ask", example["image"], example["question"], "--json", *PAIR, env=watched(shim, log)
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answer"]
    assert not log.exists(), log.read_text()


def test_ask_answers_without_any_network(edge_et: Run, example: dict[str, Any]) -> None:
    cut_off = ("unshare", "--map-root-user", "--net")
    if shutil.which("unshare") is None or subprocess.run([*cut_off, "true"]).returncode != 0:
        pytest.skip("this machine lets nobody make a network namespace")
    done = edge_et("ask", example["image"], example["question"], *PAIR, prefix=cut_off)
    assert (done.returncode, done.stdout) == (0, f"{example['answer']}\n"), done.stderr


def test_telemetry_is_off_before_onnxruntime_is_imported(example: dict[str, Any]) -> None:
    code = f"""
import importlib.abc, os, sys
seen = []
class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "onnxruntime":
            seen.append(os.environ.get("ORT_DISABLE_TELEMETRY"))
        return None
sys.meta_path.insert(0, Watch())
sys.argv = ["edge-et", "ask", {example["image"]!r}, {example["question"]!r}, *{PAIR!r}]
from edge_et.cli import main
try:
    main()
except SystemExit as end:
    print(end.code, seen)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout.splitlines()[-1] == "0 ['1']", done.stderr
