# Functions for all scripts. A script sources this file first, so that it runs in the root of the
# repository; the comment at its top is its help.
set -euo pipefail
script=$(realpath "$0")
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Prints a message for the user.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# Prints an error and ends the script.
fail() { say "$*"; exit 1; }

# Prints the comment at the top of a script, without the `#`.
help_of() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$1"; }

# Ends the script with its help if an argument asks for it.
help_if_asked() {
    local argument
    for argument; do
        case $argument in
            --) return 0 ;;
            -h | --help) help_of "$script"; exit 0 ;;
        esac
    done
}

# Ends the script with its help after a wrong argument.
usage() { say "$*"; help_of "$script" >&2; exit 2; }

# Debian's PostgreSQL does not put initdb and postgres in PATH.
have_postgres() {
    command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

# Installs Debian packages. Servers among them are not started: the tests start their own.
install_packages() {
    (($#)) || return 0
    command -v apt-get >/dev/null || fail "install these packages first (only apt-get is automated): $*"
    local as_root=()
    if ((EUID)); then
        command -v sudo >/dev/null || fail "install these packages as root first: $*"
        as_root=(sudo)
    fi
    say "installing $*"
    local policy=/usr/sbin/policy-rc.d
    if [[ -e $policy ]]; then policy=; fi
    if [[ $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
        "${as_root[@]}" chmod 755 "$policy"
    fi
    local installed=0
    {
        "${as_root[@]}" apt-get update -q &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"
    } || installed=$?
    if [[ $policy ]]; then "${as_root[@]}" rm "$policy"; fi
    ((installed == 0)) || fail "the packages could not be installed: $*"
}

need_cargo() {
    command -v cargo >/dev/null || fail "install Rust 1.91 or newer: https://rustup.rs"
}

# Prints the name of the test that runs the fault campaign: the only test directly in the module `faults`.
campaign_test() {
    cargo test -q --locked --test it -- --list 2>/dev/null | sed -n 's/^\(faults::[^:]*\): test$/\1/p'
}
