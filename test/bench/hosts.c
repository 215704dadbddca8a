/* SPDX-License-Identifier: MIT */
/*
 * Sends a gratuitous ARP of each host, once, through a pinned program by BPF_PROG_TEST_RUN.
 *
 *   hosts PROGRAM FIRST COUNT PAUSE IFINDEX...
 *
 * Host i is 10.x.y.z and 02:00:00:x:y:z with i in the last three bytes, behind port i modulo the number of
 * ports. Prints the time in the program as the kernel measured it, on average. With a PAUSE of so many milliseconds
 * after each host it also prints when each sent: milliseconds since the epoch.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_REALTIME, &time);
	return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

int main(int argc, char **argv)
{
	unsigned char frame[60] = {
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0, 8, 6, /* Ethernet */
		0,    1,    8,    0,    6,    4,    0, 1,                   /* ARP request */
	};
	struct __sk_buff context = {};
	unsigned long long total = 0;
	unsigned int first, count, pause;
	int program;

	if (argc < 6)
		return 64;
	program = bpf_obj_get(argv[1]);
	first = strtoul(argv[2], NULL, 10);
	count = strtoul(argv[3], NULL, 10);
	pause = strtoul(argv[4], NULL, 10);
	if (program < 0) {
		perror(argv[1]);
		return 1;
	}
	printf("{\"at\": [");
	for (unsigned int i = first; i < first + count; i++) {
		unsigned char ip[4] = {10, i >> 16, i >> 8, i};
		LIBBPF_OPTS(bpf_test_run_opts, options);

		memcpy(frame + 9, ip + 1, 3);       /* Ethernet source */
		memcpy(frame + 22, frame + 6, 6);   /* sender's MAC */
		memcpy(frame + 28, ip, sizeof(ip)); /* sender's IP */
		memcpy(frame + 38, ip, sizeof(ip)); /* target's IP */
		context.ifindex = strtoul(argv[5 + i % (argc - 5)], NULL, 10);
		options.data_in = frame;
		options.data_size_in = sizeof(frame);
		options.ctx_in = &context;
		options.ctx_size_in = sizeof(context);
		options.repeat = 1;
		if (pause > 0)
			printf("%s%.3f", i == first ? "" : ", ", now());
		if (bpf_prog_test_run_opts(program, &options) < 0) {
			perror("BPF_PROG_TEST_RUN");
			return 1;
		}
		total += options.duration;
		usleep(pause * 1000);
	}
	printf("], \"ns\": %f}\n", (double)total / count);
	return 0;
}
