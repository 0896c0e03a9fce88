# Sourced by tests/run and examples/run: installs with apt what is missing, and nothing when nothing is.

# The Debian package of each thing needed, and how to see that the thing is there.
have() {
  case "$1" in
    catch2) compiles '#if !__has_include(<catch2/catch_all.hpp>)' '#include <catch2/catch.hpp>' '#endif' ;;
    libclang-rt-dev) echo 'int main() {}' | clang++ -fsanitize=address,undefined -x c++ - -o /dev/null ;;
    libhiredis-dev) compiles '#include <hiredis/hiredis.h>' ;;
    librdkafka-dev) compiles '#include <librdkafka/rdkafka.h>' ;;
    libnats-dev) compiles '#include <nats/nats.h>' ;;
    maven) command -v mvn && command -v java ;;
    nats-server) PATH="$PATH:/usr/sbin:/sbin" command -v nats-server ;;
    ninja-build) command -v ninja ;;
    redis-server) PATH="$PATH:/usr/sbin:/sbin" command -v redis-server ;;
    *) command -v "$1" ;;
  esac > /dev/null 2>&1
}

compiles() { printf '%s\n' "$@" | c++ -x c++ -fsyntax-only -; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# need_packages <Debian package>...: returns when all are there, else ends the script with 2.
need_packages() {
  local package missing=()
  for package in "$@"; do have "$package" || missing+=("$package"); done
  [ ${#missing[@]} = 0 ] && return

  if ! command -v apt-get > /dev/null; then
    echo "Missing here, by Debian's names: ${missing[*]}" >&2
    echo "Install them with your system's package manager and run this again." >&2
    exit 2
  fi
  echo "Installing ${missing[*]}"
  as_root apt-get update -qq < /dev/null > /dev/null &&
    as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -qq --no-install-recommends "${missing[@]}" < /dev/null > /dev/null ||
    { echo "apt-get could not install ${missing[*]}" >&2; exit 2; }

  # Debian's packages start a server on the usual port, now and at every boot. Ours are private, on free ports.
  local server
  for server in redis-server nats-server; do
    if [[ " ${missing[*]} " == *" $server "* ]]; then
      as_root service "$server" stop > /dev/null 2>&1 || true
      as_root update-rc.d "$server" disable > /dev/null 2>&1 || true
      as_root systemctl disable "$server" > /dev/null 2>&1 || true
    fi
  done
}
