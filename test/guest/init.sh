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

mkdir /host /layers /root
share='ro,trans=virtio,version=9p2000.L,cache=loose,msize=524288'
mount -t 9p -o "$share" host /host
mount -t tmpfs tmpfs /layers
mkdir /layers/upper /layers/work
mount -t overlay -o lowerdir=/host,upperdir=/layers/upper,workdir=/layers/work overlay /root
mount -t tmpfs -o mode=755 tmpfs /root/run
mkdir -p /root/run/job /root/run/tmp /root/lib/modules
mount -t 9p -o "$share" job /root/run/job
mount -t 9p -o "$share" modules /root/lib/modules
for dir in dev proc sys; do mount --move /$dir /root/$dir; done

# The virtio-serial ports of test/guest/guest.ts, in its order.
output=/root/dev/vport0p1
status=/root/dev/vport0p2
env -i PATH="$PATH" HOME=/root TMPDIR=/run/tmp chroot /root /bin/sh /run/job/job.sh >$output 2>&1
echo $? >$status
poweroff -f
