# Shared by the scripts of this directory: source it, do not run it.
#
# Sets ROOT (the clone), TARGET (cargo's target directory), OUT (where tests leave their logs),
# SHIM (the library under test). Counts results: pass, fail, skip, then `summary`.

set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin # where Debian keeps nft and ethtool, and not in an ordinary user's PATH
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
OUT=$TARGET/logs
SHIM=$TARGET/release/libpgmshim.so
PASSED=0 FAILED=0 SKIPPED=0

say() { printf '%s\n' "$*"; }
die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" = 0 ]; }

pass() {
    PASSED=$((PASSED + 1))
    say "PASS $*"
}
fail() {
    FAILED=$((FAILED + 1))
    say "FAIL $*"
}
skip() {
    SKIPPED=$((SKIPPED + 1))
    say "SKIP $*"
}

# verdict NAME LOG STATUS: of a command with this output and status.
verdict() {
    if [ "$3" = 0 ]; then pass "$1"; else fail "$1: status $3: $(tail -n 1 "$2") ($2)"; fi
}

# The closing line; the exit status says whether anything failed, or nothing ran at all.
summary() {
    say "$PASSED passed, $FAILED failed, $SKIPPED skipped"
    [ "$FAILED" -eq 0 ] && [ $((PASSED + SKIPPED)) -gt 0 ]
}

# Add the closing line of another script's output to our counts.
add_counts() {
    local line
    line=$(grep -aE '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$1" | tail -n 1) || return 1
    local p f s
    read -r p _ f _ s _ <<<"$line"
    PASSED=$((PASSED + p)) FAILED=$((FAILED + f)) SKIPPED=$((SKIPPED + s))
}

# install_missing TOOL[:PACKAGE]...: as root on Debian install the packages of the tools that are missing;
# otherwise say which are, and fail.
install_missing() {
    local item packages=()
    for item in "$@"; do have_tool "${item%%:*}" || packages+=("${item##*:}"); done
    [ ${#packages[@]} -gt 0 ] || return 0
    if is_root && have apt-get; then
        say "Installing ${packages[*]} ..."
        if apt_install "${packages[@]}"; then return 0; fi
    fi
    say "Missing: ${packages[*]} (apt-get install ${packages[*]})" >&2
    return 1
}

apt_install() {
    local log=$OUT/apt.log
    mkdir -p "$OUT"
    DEBIAN_FRONTEND=noninteractive timeout 600 apt-get install -y -q --no-install-recommends "$@" \
        >"$log" 2>&1 </dev/null && return
    DEBIAN_FRONTEND=noninteractive timeout 300 apt-get update -q >>"$log" 2>&1 </dev/null &&
        DEBIAN_FRONTEND=noninteractive timeout 900 apt-get install -y -q --no-install-recommends "$@" \
            >>"$log" 2>&1 </dev/null
}

# A command, or the file of a package that has none: /path.
have_tool() {
    case $1 in
    /*) [ -e "$1" ] ;;
    *) have "$1" ;;
    esac
}

# The library, built from this clone.
build_shim() {
    have cargo || die "cargo is missing: install Rust (https://rustup.rs) and put ~/.cargo/bin in PATH"
    (cd "$ROOT" && cargo build --release --locked --quiet -p pgmshim "$@")
    [ -e "$SHIM" ] || die "cargo built no $SHIM"
}

# compile OUTPUT SOURCE FLAGS...: one C program against our headers, warnings are errors.
compile() {
    local output=$1 source=$2
    shift 2
    gcc -std=gnu11 -O2 -g -Wall -Wextra -Werror -pthread -fmacro-prefix-map="$ROOT/=" -I"$ROOT/include" -I"$ROOT/c-tests" \
        "$@" -o "$output" "$source"
}

# The library that replaces the allocator, if it is installed.
jemalloc() { ldconfig -p | sed -n 's/.*libjemalloc\.so\.2 .*=> //p' | head -n 1; }

# Whether this process may make network namespaces.
can_netns() { is_root && have ip && unshare -n true 2>/dev/null; }

# Run a command in a fresh network namespace whose only interface is lo, up.
in_netns() {
    unshare -n sh -c 'ip link set lo up && ip link set lo multicast on && exec "$@"' sh "$@"
}
