# shellcheck shell=bash
# What ./check, ./quickstart, ./bootstrap, ./face-ansible and tests/services/prepare have in common: they source it.

# PROGRAM=PACKAGE... of what runs machine containers.
# shellcheck disable=SC2034
guest_programs=(systemd-nspawn=systemd-container 'mmdebstrap=mmdebstrap debian-archive-keyring' nft=nftables ip=iproute2 ssh=openssh-client)

# lacking_packages PROGRAM=PACKAGE...: the packages of those programs that are not here, a line each.
lacking_packages() {
  local pair
  for pair; do
    command -v "${pair%%=*}" >/dev/null || tr ' ' '\n' <<<"${pair#*=}"
  done
}

# install_packages PACKAGE...: Debian packages, without those they only recommend; as root.
# Two steps at once may want some, and apt refuses the second.
install_packages() {
  (
    flock 9
    apt-get update -qq 9>&- &&
      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 9>&-
  ) 9>/run/lock/face-packages
}

# find_python [CANDIDATE...]: prints the first Python 3.11 to 3.13 with venv, the given ones before the others.
# Some distributions ship python3 without ensurepip, and a version manager may put stubs first in PATH.
find_python() {
  local candidate
  for candidate in "$@" python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

# provide_python [CANDIDATE...]: as find_python; installs Debian's where there is none. What is lacking goes to standard error.
provide_python() {
  find_python "$@" && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "needs Python 3.11 to 3.13 with venv: install python3-venv" >&2
    return 1
  fi
  install_packages python3 python3-venv >&2 || return
  find_python "$@" && return
  echo "needs Python 3.11 to 3.13; this system's python3 is $(python3 --version 2>&1)" >&2
  return 1
}

# has_lock VENV LOCK: whether the environment holds what the lock names.
has_lock() {
  [ "$(cat "$1/.lock" 2>/dev/null)" = "$(sha256sum <"$2")" ]
}

# mark_lock VENV LOCK: from now on it does.
mark_lock() {
  sha256sum <"$2" >"$1/.lock"
}

# install_lock VENV LOCK: what the lock names, with the environment's own pip.
# A machine's own pip configuration may name places that are not there; pip says so and goes on. All else it says is shown.
install_lock() {
  { "$1/bin/pip" install --quiet --disable-pip-version-check --require-hashes --no-deps -r "$2" 2>&1 >&3 |
    sed '/^WARNING: Location .* is ignored: /d' >&2; } 3>&1
}
