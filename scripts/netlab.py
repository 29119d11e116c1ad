"""Two hosts or more in network namespaces, joined by veth or a bridge, with real packet loss.

Used by the scripts of this directory; needs root, iproute2 and nftables. Names carry the process id, so
several labs may run at once, and everything made here is removed again.
"""

import json
import os
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
SHIM = os.path.join(TARGET, "release", "libpgmshim.so")
LOGS = os.path.join(TARGET, "logs")


def missing():
    """Why a lab cannot be made here, or None."""
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    for tool in ("ip", "nft", "ethtool"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    if subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode != 0:
        return "network namespaces are not permitted"
    return None


TOTALS = {"passed": 0, "failed": 0, "skipped": 0}


def say(result, text):
    """One result line: PASS, FAIL or SKIP, and what."""
    TOTALS[{"PASS": "passed", "FAIL": "failed", "SKIP": "skipped"}[result]] += 1
    print(result, text, flush=True)


def summary():
    """The closing line; returns the exit status."""
    print(", ".join(f"{n} {what}" for what, n in TOTALS.items()), flush=True)
    return 1 if TOTALS["failed"] else 0


def build_shim():
    """The library, built from this clone."""
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet", "-p", "pgmshim"], cwd=ROOT, check=True)


def compile_c(directory, folder, name, *extra):
    """One program of c-tests/FOLDER, warnings are errors; returns its path."""
    path = os.path.join(directory, name)
    source = os.path.join(ROOT, "c-tests", folder, name + ".c")
    subprocess.run(
        ["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-I" + os.path.join(ROOT, "include"), "-o", path, source]
        + list(extra),
        check=True,
    )
    return path


def build():
    """The library and the two peers; returns a dict of their paths."""
    build_shim()
    out = os.path.join(TARGET, "interop")
    os.makedirs(out, exist_ok=True)
    os.makedirs(LOGS, exist_ok=True)
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "openpgm-5.3"], capture_output=True, text=True, check=True
    ).stdout.split()
    return {
        "sockets": compile_c(out, "interop", "sockets"),
        "libpgm": compile_c(out, "interop", "libpgm", *flags),
    }


class Lab:
    """A sender host (index 0) and `receivers` others, on one veth pair or one bridge."""

    def __init__(self, receivers=1, name=""):
        self.prefix = f"pgm{os.getpid()}{name}"
        self.hosts = [f"{self.prefix}h{i}" for i in range(receivers + 1)]
        self.bridge = f"{self.prefix}br" if receivers > 1 else None
        self.running = []

    def __enter__(self):
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.running:
            if process.poll() is None:
                process.kill()
                process.wait()
        for name in self.hosts + ([self.bridge] if self.bridge else []):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def _make(self):
        for host in self.hosts + ([self.bridge] if self.bridge else []):
            sh("ip", "netns", "add", host)
        if self.bridge:
            sh("ip", "-n", self.bridge, "link", "add", "bridge0", "type", "bridge", "mcast_snooping", "0")
            sh("ip", "-n", self.bridge, "link", "set", "bridge0", "up")
            for i in range(len(self.hosts)):
                self.plug(i)
        else:
            sh("ip", "link", "add", "eth", "netns", self.hosts[0], "type", "veth", "peer", "name", "eth", "netns", self.hosts[1])
            for i in range(len(self.hosts)):
                self.configure(i)
        self.one_by_one(True)

    def plug(self, i, card=0, address=None):
        """Join a host to the bridge. An interface that comes back has the MAC address it had, as that of a machine does:
        what others have in their ARP tables is right. Another card has another."""
        mac = f"02:00:0a:63:{card:02x}:{i + 1:02x}"
        sh("ip", "link", "add", "eth", "netns", self.hosts[i], "address", mac, "type", "veth", "peer", "name", f"p{i}", "netns", self.bridge)
        sh("ip", "-n", self.bridge, "link", "set", f"p{i}", "master", "bridge0", "up")
        self.configure(i, address)

    def unplug(self, i):
        """Take a host's interface away."""
        sh("ip", "-n", self.hosts[i], "link", "del", "eth")

    def configure(self, i, address=None):
        """Give a host its address, or another, and routes, again if need be."""
        host = self.hosts[i]
        sh("ip", "-n", host, "addr", "replace", f"{address or self.address(i)}/24", "dev", "eth")
        sh("ip", "-n", host, "link", "set", "lo", "up")
        sh("ip", "-n", host, "link", "set", "eth", "up")
        sh("ip", "-n", host, "route", "replace", "224.0.0.0/4", "dev", "eth")

    def one_by_one(self, on):
        """Whether every datagram crosses the network as a packet of its own: a batch that the kernel carries
        as one packet would be lost as one. Off is how a veth comes."""
        for host in self.hosts:
            sh("ip", "netns", "exec", host, "ethtool", "-K", "eth", "tx-udp-segmentation", "off" if on else "on")

    def address(self, host):
        """IPv4 address of a host."""
        return f"10.99.0.{host + 1}"

    def loss(self, host, percent):
        """Drop this share of the IP packets that arrive at a host, whatever is in them. ARP passes: a lost
        answer would silence the host for a second, which is a test of the window's size, not of repairs."""
        rules = "add table netdev loss\ndelete table netdev loss\n"
        if percent:
            which = "" if percent >= 100 else f" meta protocol ip numgen random mod 1000 < {round(percent * 10)}"
            rules += (
                "table netdev loss { chain in { type filter hook ingress device eth priority 0;"
                f"{which} counter drop; }}; }}\n"
            )
        subprocess.run(
            ["ip", "netns", "exec", self.hosts[host], "nft", "-f", "-"], input=rules, text=True, check=True
        )

    def start(self, host, argv, env=None, cpu=None, **popen):
        """Start a command on a host."""
        prefix = ["ip", "netns", "exec", self.hosts[host]]
        if cpu is not None:
            prefix += ["taskset", "-c", str(cpu)]
        # env(1) sets the preload last, so that none of the helpers above loads the library.
        variables = ["env"] + [f"{k}={v}" for k, v in (env or {}).items()]
        process = subprocess.Popen(prefix + variables + argv, **popen)
        self.running.append(process)
        return process

    def capture(self, host, path):
        """Record what passes a host's interface until the returned process is terminated."""
        process = self.start(
            host, ["tcpdump", "-i", "eth", "-U", "-s", "0", "-B", "65536", "-w", path], stderr=subprocess.PIPE, text=True
        )
        process.stderr.readline()  # "listening on": packets are taken from here on
        return process


def sh(*argv):
    """Run a command that must succeed."""
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


PRELOAD = {"LD_PRELOAD": SHIM}


def transfer(lab, peers, sender, receiver, job, sender_env=None, receiver_env=None, pin=False, timeout=120, send=()):
    """One transfer between two peers; returns (sender's report, receiver's report), each with "status". The sender has
    the arguments `send`, too."""

    def command(kind, role, host):
        argv = [peers[kind], role, "-i", lab.address(host), *job, *(send if role == "send" else ())]
        env = dict(PRELOAD) if kind == "sockets" else {}
        env.update((sender_env if role == "send" else receiver_env) or {} if kind == "sockets" else {})
        return argv, env

    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    argv, env = command(receiver, "recv", 1)
    rx = lab.start(1, argv, env, cpu=1 if pin else None, **pipes)
    ready = rx.stdout.readline()
    if "ready" not in ready:
        rx.kill()
        return {"status": None}, {"status": rx.wait(), "error": (ready + rx.stderr.read()).strip()}
    time.sleep(0.2)
    argv, env = command(sender, "send", 0)
    tx = lab.start(0, argv, env, cpu=0 if pin else None, **pipes)
    results = []
    deadline = time.monotonic() + timeout
    for process in (rx, tx):
        try:
            out, err = process.communicate(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            err += f"\nstopped after {timeout} s"
        lines = [line for line in out.splitlines() if line.startswith("{")]
        result = json.loads(lines[-1]) if lines else {}
        result.update(status=process.returncode, error=err.strip())
        results.append(result)
    return results[1], results[0]


def note(text):
    """One line to the person who waits."""
    print(text, file=sys.stderr, flush=True)
