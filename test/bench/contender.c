/* SPDX-License-Identifier: MIT */
/*
 * How long another process may have to wait for the kernel's RTNL lock while a command runs:
 *
 *   contender COMMAND [ARGUMENT...]
 *
 * Sets the MTU of lo to what it is, again and again, as the start of a virtual machine or zebra changes
 * a device: that takes the lock, and does nothing that lasts. Prints the longest of these calls. The
 * command and this process have a processor each, so that neither waits for the other except for the lock.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOOPBACK_MTU 65536

static double now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static int run_on(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	return sched_setaffinity(0, sizeof(cpus), &cpus);
}

/* Returns an errno of the kernel, 0 for success, or -1. */
static int set_mtu(int sock, int loopback)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg link;
		struct rtattr attribute;
		unsigned int mtu;
	} request = {
		.header = {.nlmsg_len = sizeof(request),
			   .nlmsg_type = RTM_SETLINK,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
		.link = {.ifi_index = loopback},
		.attribute = {.rta_len = RTA_LENGTH(sizeof(unsigned int)), .rta_type = IFLA_MTU},
		.mtu = LOOPBACK_MTU,
	};
	char answer[4096];
	struct nlmsghdr *message = (void *)answer;
	struct nlmsgerr *error = NLMSG_DATA(message);

	if (send(sock, &request, sizeof(request), 0) != sizeof(request) ||
	    recv(sock, answer, sizeof(answer), 0) < (int)NLMSG_LENGTH(sizeof(error->error)) ||
	    message->nlmsg_type != NLMSG_ERROR)
		return -1;
	return -error->error;
}

int main(int argc, char **argv)
{
	double longest = 0;
	unsigned long calls = 0;
	int loopback = if_nametoindex("lo"), status, sock;
	pid_t pid;

	sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (argc < 2 || sock < 0 || loopback == 0)
		return 64;
	pid = fork();
	if (pid == 0) {
		int output = open("/dev/null", O_WRONLY);

		if (run_on(0) || output < 0 || dup2(output, STDOUT_FILENO) < 0)
			_exit(126);
		execvp(argv[1], argv + 1);
		_exit(127);
	}
	if (pid < 0 || run_on(1) || setpriority(PRIO_PROCESS, 0, -20)) {
		perror("contender");
		return 1;
	}
	while (waitpid(pid, &status, WNOHANG) == 0) {
		double start = now_ms(), took;
		int error = set_mtu(sock, loopback);

		if (error) {
			fprintf(stderr, "contender: %s\n", error < 0 ? "no answer" : strerror(error));
			kill(pid, SIGKILL);
			return 1;
		}
		took = now_ms() - start;
		if (took > longest)
			longest = took;
		calls++;
	}
	printf("{\"longestMs\": %f, \"calls\": %lu, \"exit\": %d}\n", longest, calls,
	       WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	return 0;
}
