/* SPDX-License-Identifier: MIT */
/*
 * Writes the neighbors of hosts.c as quickly as C can, in the messages and batches that snoopy sends:
 *
 *   neighbors IFINDEX FIRST COUNT
 *
 * Prints the time for the writes, and how many the kernel refused. The EXT_VALIDATED flag is left out where
 * the kernel does not know it.
 */
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH             65536
#define FLAGS_EXT         15 /* NDA_FLAGS_EXT */
#define EXT_EXT_VALIDATED (1 << 2)

static int sock;
static unsigned int sequence, refused;

static double now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static void add(struct nlmsghdr *message, int type, const void *value, int size)
{
	struct rtattr *attribute = (void *)message + NLMSG_ALIGN(message->nlmsg_len);

	attribute->rta_type = type;
	attribute->rta_len = RTA_LENGTH(size);
	memcpy(RTA_DATA(attribute), value, size);
	message->nlmsg_len = NLMSG_ALIGN(message->nlmsg_len) + RTA_ALIGN(attribute->rta_len);
}

static int encode(void *buffer, int ifindex, unsigned int host, unsigned int flags_ext)
{
	struct nlmsghdr *message = buffer;
	struct ndmsg *neighbor = NLMSG_DATA(message);
	unsigned char ip[4] = {10, host >> 16, host >> 8, host};
	unsigned char mac[6] = {2, 0, 0, host >> 16, host >> 8, host};
	unsigned char protocol = 115;

	memset(buffer, 0, 128);
	message->nlmsg_len = NLMSG_LENGTH(sizeof(*neighbor));
	message->nlmsg_type = RTM_NEWNEIGH;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL;
	message->nlmsg_seq = ++sequence;
	neighbor->ndm_family = AF_INET;
	neighbor->ndm_ifindex = ifindex;
	neighbor->ndm_state = NUD_NOARP;
	add(message, NDA_DST, ip, sizeof(ip));
	add(message, NDA_LLADDR, mac, sizeof(mac));
	add(message, NDA_PROTOCOL, &protocol, sizeof(protocol));
	if (flags_ext)
		add(message, FLAGS_EXT, &flags_ext, sizeof(flags_ext));
	return message->nlmsg_len;
}

/* Sends a batch whose last message requests an acknowledgement, and reads until it arrives. */
static int exchange(void *buffer, int length, unsigned int last)
{
	static char answer[262144];
	struct nlmsghdr *message;
	int error = 0, size;

	if (send(sock, buffer, length, 0) != length) {
		perror("send");
		exit(1);
	}
	for (;;) {
		size = recv(sock, answer, sizeof(answer), 0);
		if (size < 0) {
			perror("recv");
			exit(1);
		}
		for (message = (void *)answer; NLMSG_OK(message, (unsigned int)size);
		     message = NLMSG_NEXT(message, size)) {
			if (message->nlmsg_type != NLMSG_ERROR)
				continue;
			if (((struct nlmsgerr *)NLMSG_DATA(message))->error) {
				error = ((struct nlmsgerr *)NLMSG_DATA(message))->error;
				refused++;
			}
			if (message->nlmsg_seq == last)
				return error;
		}
	}
}

int main(int argc, char **argv)
{
	static char buffer[BATCH + 128];
	struct sched_param priority = {.sched_priority = 1}; /* As measure.c does for the others. */
	struct sockaddr_nl address = {.nl_family = AF_NETLINK};
	unsigned int flags_ext = EXT_EXT_VALIDATED, first, count, host;
	int ifindex, length = 0, size, room = 4 << 20;
	double start;

	if (argc != 4)
		return 64;
	ifindex = atoi(argv[1]);
	first = strtoul(argv[2], NULL, 10);
	count = strtoul(argv[3], NULL, 10);
	if (sched_setscheduler(0, SCHED_FIFO, &priority))
		return 1;
	sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (sock < 0 || bind(sock, (void *)&address, sizeof(address))) {
		perror("socket");
		return 1;
	}
	setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	size = encode(buffer, ifindex, first, flags_ext);
	((struct nlmsghdr *)buffer)->nlmsg_flags |= NLM_F_ACK;
	start = now_ms();
	if (exchange(buffer, size, sequence)) {
		refused = 0;
		flags_ext = 0;
		first--;
		count++;
	}
	for (host = first + 1; host < first + count; host++) {
		size = encode(buffer + length, ifindex, host, flags_ext);
		if (length + 2 * size > BATCH || host == first + count - 1) {
			((struct nlmsghdr *)(buffer + length))->nlmsg_flags |= NLM_F_ACK;
			exchange(buffer, length + size, sequence);
			length = 0;
		} else {
			length += size;
		}
	}
	printf("{\"ms\": %f, \"refused\": %u}\n", now_ms() - start, refused);
	return 0;
}
