#!/bin/sh
# First process of the guest: mounts the host's files read-only by 9p below a tmpfs, runs the job there, powers off.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
/bin/busybox mkdir -p /usr/sbin /usr/bin /sbin
/bin/busybox --install -s
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
for module in /modules/*; do insmod "$module"; done
ip link set lo up

mkdir /host /layers /guest
share='ro,trans=virtio,version=9p2000.L,cache=loose,msize=524288'
mount -t 9p -o "$share" host /host
mount -t tmpfs tmpfs /layers
mkdir /layers/upper /layers/work
mount -t overlay -o lowerdir=/host,upperdir=/layers/upper,workdir=/layers/work overlay /guest
mount -t tmpfs -o mode=755 tmpfs /guest/run
mkdir -p /guest/run/job /guest/run/tmp /guest/lib/modules
mount -t 9p -o "$share" job /guest/run/job
mount -t 9p -o "$share" modules /guest/lib/modules
for dir in dev proc sys; do mount --move /$dir /guest/$dir; done

# Not by chroot: a process that enters the mount namespace of a container would be outside of it.
exec switch_root /guest /bin/sh -c '
  # Network modules come first: when two tests request one at the same time, the kernel fails the second. No program
  # requests tun: it makes its own device.
  for module in tun bridge veth vxlan 8021q vrf bonding dummy sch_ingress cls_bpf; do modprobe $module; done
  ln -s /proc/self/fd /dev/fd

  # A virtio-serial port with the name that test/guest/guest.ts gave it.
  port() {
    for sys in /sys/class/virtio-ports/*; do
      if [ "$(cat "$sys/name")" = "$1" ]; then echo "/dev/${sys##*/}"; fi
    done
  }
  env -i PATH="$PATH" HOME=/root TMPDIR=/run/tmp /bin/sh /run/job/job.sh >"$(port output)" 2>&1
  echo $? >"$(port status)"
  busybox poweroff -f
'
