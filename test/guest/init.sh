#!/bin/sh
# First process of the guest: the host's files, read-only by 9p, below a tmpfs; in that the job; then off.
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

# The kernel asks for modules outside of the chroot; they are inside. For tun nobody asks: it makes its own device.
# Those of the network come first: of two tests that ask for one at once, the kernel lets the second down.
rm /sbin/modprobe
printf '#!/bin/sh\nexec chroot /guest modprobe "$@"\n' >/sbin/modprobe
chmod +x /sbin/modprobe
for module in tun bridge veth vxlan 8021q vrf bonding dummy sch_ingress cls_bpf; do /sbin/modprobe $module; done
ln -s /proc/self/fd /guest/dev/fd

# A virtio-serial port by the name that test/guest/guest.ts gave it.
port() {
  for sys in /guest/sys/class/virtio-ports/*; do
    if [ "$(cat "$sys/name")" = "$1" ]; then echo "/guest/dev/${sys##*/}"; fi
  done
}
env -i PATH="$PATH" HOME=/root TMPDIR=/run/tmp chroot /guest /bin/sh /run/job/job.sh >"$(port output)" 2>&1
echo $? >"$(port status)"
poweroff -f
