"""A program without PGM sockets makes the same system calls with and without the library.

pass_through.py [--heap] LIBRARY COMMAND...: run the command with and without the library under strace and
compare what it does from the end of loading on: everything after the dynamic loader has unmapped
/etc/ld.so.cache. Only what differs from run to run anyway is masked: addresses, process ids, times, and the
name of the library in environments. Whether an allocator asks the kernel for memory once more depends on
where its heap happens to begin: such calls count only with --heap, for a program that makes few.
"""

import itertools
import os
import re
import subprocess
import sys
import tempfile

MASKS = (
    (re.compile(r"0x[0-9a-f]+"), "ADDRESS"),
    (re.compile(r"^(\[pid +)?\d+\]? "), ""),
    (re.compile(r"/\* \d+ vars \*/"), "VARS"),
    (re.compile(r"\{tv_sec=[^}]*\}"), "TIME"),
    (re.compile(r"\b[sim]time=\d+|st_[acm]time[^,}]*"), "TIME"),
    (re.compile(r"(getpid|gettid|getppid|clone|clone3|vfork|fork|wait4|set_tid_address)(\(.*)= \d+"), r"\1\2= PID"),
    (re.compile(r"wait4\(\d+"), "wait4(PID"),
    (re.compile(r"si_pid=\d+|si_utime=\d+[^,}]*|si_stime=\d+[^,}]*|child_tid=\S+|parent_tid=\S+"), "PID"),
    (re.compile(r'getrandom\("[^"]*"'), "getrandom(BYTES"),
    (re.compile(r"sysinfo\(\{.*\}\)"), "sysinfo(...)"),
    (re.compile(r"rt_sigreturn\(.*"), "rt_sigreturn(...)"),
    (re.compile(r"tgkill\(\d+, \d+"), "tgkill(PID"),
)

MEMORY = ("brk(", "mmap(", "munmap(", "mremap(", "madvise(", "mprotect(")


def trace(command, library, heap):
    """The masked system calls of one run, per process, after loading, and its output."""
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    environment.update(PYTHONHASHSEED="0", LC_ALL="C", GIT_OPTIONAL_LOCKS="0")
    with tempfile.TemporaryDirectory() as directory:
        prefix = os.path.join(directory, "trace")
        strace = ["strace", "-ff", "-s", "4096", "-v", "-e", "abbrev=stat,fstat,newfstatat,statx,execve", "-o", prefix]
        preload = ["-E", f"LD_PRELOAD={library}"] if library else []
        run = subprocess.run(
            strace + preload + command, env=environment, capture_output=True, timeout=120, stdin=subprocess.DEVNULL
        )
        calls = []
        for name in sorted(os.listdir(directory), key=lambda n: int(n.rsplit(".", 1)[1])):
            with open(os.path.join(directory, name), encoding="latin-1") as file:
                calls += after_loading([mask(line) for line in file])
    if not heap:
        calls = [call for call in calls if not call.startswith(MEMORY)]
    return calls, (run.returncode, run.stdout, run.stderr)


def mask(line):
    """One line without what differs between two runs anyway."""
    for pattern, replacement in MASKS:
        line = pattern.sub(replacement, line)
    return line.rstrip()


def after_loading(lines):
    """Cut every stretch from an execve to the end of the loader's work."""
    kept, loading = [], False
    cache_mapped = False
    for line in lines:
        if line.startswith("execve(") and line.endswith("= 0"):
            loading, cache_mapped = True, False
            kept.append(line)
        elif loading:
            if "/etc/ld.so.cache" in line:
                cache_mapped = True
            if cache_mapped and line.startswith("munmap("):
                loading = False
        else:
            kept.append(line)
    return kept


def main():
    """Compare."""
    arguments = sys.argv[1:]
    heap = arguments[0] == "--heap"
    library, *command = arguments[heap:]
    # A program may differ from itself (who of two processes comes first): some run of each kind must agree.
    runs_with, runs_without = [], []
    for _ in range(8):
        runs_with.append(trace(command, library, heap))
        runs_without.append(trace(command, None, heap))
        for without, expected in runs_without:
            if (without, expected) in runs_with:
                print(f"{len(without)} system calls, the same with and without")
                return 0
    (with_library, seen), (without, expected) = runs_with[-1], runs_without[-1]
    if seen != expected:
        print("output or status differs:", expected, seen)
    for a, b in itertools.zip_longest(without, with_library):
        if a != b:
            print(f"without: {a}\nwith:    {b}")
            break
    print(f"{len(without)} system calls without, {len(with_library)} with the library")
    return 1


sys.exit(main())
