#!/usr/bin/env bash
# Prepares a fresh Debian 12 (root, Node 20) for `npm test` and `npm run demo`: packages, modules, build.
#
#   setup.sh [demo | all]     demo: without the packages that only the tests need; all: with a guest of another architecture
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Debian package and its purpose.
packages=(
  'libbpf1         loads the eBPF program'
  'iproute2        builds the namespaces, and shows what the kernel has'
  'frr             zebra and bgpd, the two that snoopy works for'
  'arping          lets the VMs ask'
  'python3         sends frames as they are'
  'ndisc6          lets the VMs ask, in IPv6'
  'tcpdump         counts what crosses the tunnel'
)
test_packages=(
  'clang           compiles the eBPF program, to compare it with the committed object'
  'llvm            strips its object file'
  'libbpf-dev      headers of the eBPF program'
  'bpftool         shows what is loaded and attached'
  'python3-scapy   makes frames, by an encoder that is not ours'
  'strace          shows which messages a run sends to the kernel'
  'qemu-system-x86 boots other kernels'
  'qemu-system-arm boots those of arm64'
  'busybox-static  is the first program in them'
  'kmod            loads their modules'
  'xz-utils        unpacks those modules'
  'lintian         looks the .deb through'
  'rpm             builds the RPM'
  'rpmlint         looks it through'
  'mandoc          looks the manual pages through'
  'groff-base      does so too'
  'zsh             completes'
  'fish            completes too'
  'prometheus      its promtool checks metrics, and tests the alerts'
  'prometheus-node-exporter reads the textfile'
  'ansible-core    runs the collection'
  'ansible-lint    looks it over'
  'openssh-client  is how it reaches its nodes'
  'python3-voluptuous  lets ansible-test look the module over'
  'pycodestyle     looks its style over'
  'keepalived      makes virtual routers'
)
root_packages=(
  'mmdebstrap      makes the Debian 12 and 13 that packages are installed in'
)
# Packages that bring a service, which must not run.
services=(frr keepalived prometheus prometheus-node-exporter)

# Roots for containers, each made once: name, release of Debian, packages beside apt, and the architecture if it is
# another. `bookworm` and `trixie` have systemd, what the .deb depends on, and what Ansible needs to connect.
debian_packages=systemd,systemd-sysv,dbus,nodejs,libbpf1,iproute2,python3,python3-apt,openssh-server
arm64_packages=linux-image-arm64,linux-image-arm64-16k,busybox-static,kmod,bpftool,strace,python3,python3-scapy
roots=(
  "bookworm bookworm $debian_packages"
  "trixie trixie $debian_packages"
  # What an Enterprise Linux 9 has and Debian's archive as well.
  "rpm bookworm systemd,systemd-sysv,dbus,nodejs,libbpf1,iproute2,python3,openssh-server,rpm,rpm2cpio,cpio,dnf"
)
# For the guest of `npm run test:all`: with its kernels, and with what the tests that run in it call.
if [[ ${1:-} == all ]]; then
  roots+=("arm64 trixie systemd,systemd-sysv,dbus,nodejs,libbpf1,iproute2,passwd,$arm64_packages arm64")
fi
# Units of these roots that have no use in a container, or would listen.
debian_masked=(systemd-modules-load.service console-getty.service ssh.service ssh.socket)
# What comes with a kernel and would touch the devices of tests, and what an unpacked root would do at each boot.
debian_masked+=(systemd-udevd{.service,-control.socket,-kernel.socket} systemd-udev-{trigger,load-credentials}.service
  {systemd-hwdb-update,systemd-journal-catalog-update,ldconfig}.service)

# The files of Debian 13's FRR, made once, for the tests with a second version: test/lib/frr.ts starts it in there.
frr_root=dist/roots/frr

fail() {
  echo "setup: $*" >&2
  exit 1
}

need_host() {
  [[ $(uname -s) == Linux ]] || fail 'this needs Linux'
  [[ $EUID -eq 0 ]] || fail 'run this as root: network namespaces and eBPF programs need it'
  [[ -r /sys/kernel/btf/vmlinux ]] || fail 'this kernel has no BTF (/sys/kernel/btf/vmlinux is missing): use one with CONFIG_DEBUG_INFO_BTF=y'
  grep -qw bpf /proc/filesystems || fail 'this kernel has no bpffs: use one with CONFIG_BPF_SYSCALL=y'
  local node
  node=$(node --version 2>/dev/null) || fail 'Node.js is missing: install version 20 or later'
  node=${node#v}
  [[ ${node%%.*} -ge 20 ]] || fail "Node.js $node is too old: install version 20 or later"
}

# Bridges, VXLAN and clsact, tried in a namespace that ends with the command.
need_network() {
  local try
  for try in 'link add b0 type bridge' 'link add v0 type vxlan id 1 dstport 4789' 'link add e0 type veth'; do
    unshare --net ip $try 2>/dev/null || fail "this kernel refuses \`ip $try\` in a network namespace"
  done
  unshare --net tc qdisc add dev lo clsact 2>/dev/null || fail 'this kernel has no clsact qdisc: use one with CONFIG_NET_SCH_INGRESS'
}

# Packages with a service are installed only for their programs: the service must not run, now or after the next boot.
policy=/usr/sbin/policy-rc.d
is_forbidden=

forbid_services() {
  if [[ -e $policy ]]; then mv "$policy" "$policy.before-snoopy"; fi
  is_forbidden=1
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
}

allow_services() {
  [[ -n $is_forbidden ]] || return 0
  rm -f "$policy"
  if [[ -e $policy.before-snoopy ]]; then mv "$policy.before-snoopy" "$policy"; fi
  is_forbidden=
}

# Processes in the background, by the number of their group.
jobs=()

clean_up() {
  allow_services
  local job
  for job in "${jobs[@]}"; do kill -- "-$job" 2>/dev/null || true; done
}
trap clean_up EXIT

install_packages() {
  local line missing=()
  for line in "$@"; do
    local name=${line%% *}
    [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || missing+=("$name")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  echo "setup: installing ${missing[*]} (to build snoopy and to run it between FRR nodes in namespaces)"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq || fail 'apt-get update failed: are the package sources reachable?'
  forbid_services
  local log
  log=$(apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}" 2>&1) ||
    fail "apt-get could not install ${missing[*]}:"$'\n'"$log"
  allow_services
  local service
  for service in "${services[@]}"; do
    if [[ " ${missing[*]} " == *" $service "* ]]; then update-rc.d "$service" disable >/dev/null 2>&1 || true; fi
  done
}

# What the scripts of the most basic packages would do. mmdebstrap gives the root as $1.
count_as_installed='
  cd "$1"
  for deb in var/cache/apt/archives/*.deb; do
    dpkg-deb --field "$deb" | sed "1a Status: install ok installed"
    echo
  done >var/lib/dpkg/status
  for name in passwd group; do cp "usr/share/base-passwd/$name.master" "etc/$name"; done
  : >etc/machine-id
'

# make_root NAME RELEASE PACKAGES [ARCHITECTURE]: unless it is there with the same packages.
make_root() {
  local root=dist/roots/$1 release=$2 packages=$3 architecture=${4:-}
  [[ $(cat "$root.packages" 2>/dev/null) != "$packages" ]] || return 0
  echo "setup: unpacking Debian's $release into $root (for containers; about a minute)"
  local unfinished=$root.$$ log options=(--variant=minbase)
  if [[ -n $architecture ]]; then
    # No maintainer script of another architecture runs here: packages are unpacked, and counted as installed.
    options=("--architectures=$architecture" --variant=extract '--include=?essential' "--extract-hook=$count_as_installed")
  fi
  mkdir -p "${root%/*}"
  # Half of the time of debootstrap: apt installs everything at once.
  log=$(mmdebstrap --mode=root "${options[@]}" --include="$packages" "$release" "$unfinished" 2>&1) || {
    rm -rf --one-file-system "$unfinished"
    fail "mmdebstrap could not make Debian's $release:"$'\n'"$(tail -5 <<<"$log")"
  }
  local unit
  for unit in "${debian_masked[@]}"; do ln -sf /dev/null "$unfinished/etc/systemd/system/$unit"; done
  rm -rf "$root"
  mv "$unfinished" "$root"
  echo "$packages" >"$root.packages"
}

make_roots() {
  local line name release packages architecture
  for line in "${roots[@]}"; do
    read -r name release packages architecture <<<"$line"
    make_root "$name" "$release" "$packages" "$architecture"
  done
}

make_frr_root() {
  [[ ! -e $frr_root ]] || return 0
  echo "setup: unpacking Debian 13's FRR into $frr_root (to test with a second version; seconds)"
  local unfinished=$frr_root.$$ log
  mkdir -p "${frr_root%/*}"
  # Only unpacked: FRR needs its files and libraries, and nothing that is set up. base-files has the link /lib.
  log=$(mmdebstrap --mode=root --variant=extract --include=frr,base-files trixie "$unfinished" 2>&1) || {
    rm -rf --one-file-system "$unfinished"
    fail "mmdebstrap could not unpack Debian 13's FRR:"$'\n'"$(tail -5 <<<"$log")"
  }
  mv "$unfinished" "$frr_root"
}

install_modules() {
  [[ ! -e node_modules/.package-lock.json || package-lock.json -nt node_modules/.package-lock.json ]] || return 0
  echo 'setup: npm ci (the versions in package-lock.json)'
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
}

need_host
command -v apt-get >/dev/null && command -v dpkg-query >/dev/null ||
  fail 'apt is missing: this script knows Debian 12; elsewhere install the packages that it lists, then `npm ci && npm run build`'
if [[ ${1:-} == demo ]]; then
  install_packages "${packages[@]}"
  install_modules
else
  # The roots and the modules need the network and one core each: they are made beside the packages.
  install_packages "${root_packages[@]}"
  set -m # a process group each, which ends with this script
  { make_frr_root; make_roots; } </dev/null &
  roots_job=$!
  install_modules </dev/null &
  modules_job=$!
  set +m
  jobs=("$roots_job" "$modules_job")
  install_packages "${packages[@]}" "${test_packages[@]}"
  wait "$modules_job" || fail 'npm ci failed (see above)'
fi
need_network
npm run --silent build
if [[ ${1:-} != demo ]]; then
  # Also fetches, once, the parts of koffi for the other architectures.
  node dist/packaging/build.js >/dev/null
  wait "$roots_job" || exit 1
fi
