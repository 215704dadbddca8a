/* SPDX-License-Identifier: MIT */
/*
 * Times a pinned program on one frame by BPF_PROG_TEST_RUN, on several CPUs at once:
 *
 *   frames PROGRAM FRAME IFINDEX REPEAT CALLS RING CPU...
 *
 * RING is a pinned ring buffer to be emptied between the calls, or "-". Prints nanoseconds per frame, on
 * average over the CPUs. The CPU time of the threads is measured, so that other processes do not distort
 * it.
 */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static unsigned char frame[2048];
static size_t frame_size;
static int program, repeat, calls;
static unsigned int ifindex;
static unsigned long *consumer;
static const unsigned long *producer;
static pthread_barrier_t start;

static double thread_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static void run(int times)
{
	struct __sk_buff context = {.ifindex = ifindex};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame, .data_size_in = frame_size,
		    .ctx_in = &context, .ctx_size_in = sizeof(context), .repeat = times);

	if (bpf_prog_test_run_opts(program, &options) < 0) {
		perror("BPF_PROG_TEST_RUN");
		exit(1);
	}
}

static void *time_cpu(void *argument)
{
	double *ns = argument;
	double begin, total = 0;

	run(repeat / 10 + 1);
	for (int i = 0; i < calls; i++) {
		if (consumer)
			__atomic_store_n(consumer, __atomic_load_n(producer, __ATOMIC_ACQUIRE),
					 __ATOMIC_RELEASE);
		pthread_barrier_wait(&start);
		begin = thread_ns();
		run(repeat);
		total += thread_ns() - begin;
	}
	*ns = total / calls / repeat;
	return NULL;
}

static void map_ring(const char *path)
{
	long page = sysconf(_SC_PAGESIZE);
	int ring = bpf_obj_get(path);

	consumer = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, ring, 0);
	producer = mmap(NULL, page, PROT_READ, MAP_SHARED, ring, page);
	if (ring < 0 || consumer == MAP_FAILED || producer == MAP_FAILED) {
		perror(path);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	int cpus = argc - 7;
	pthread_t threads[64];
	double ns[64], sum = 0;
	FILE *file;

	if (cpus < 1 || cpus > 64)
		return 64;
	program = bpf_obj_get(argv[1]);
	file = fopen(argv[2], "r");
	if (program < 0 || !file) {
		perror(program < 0 ? argv[1] : argv[2]);
		return 1;
	}
	frame_size = fread(frame, 1, sizeof(frame), file);
	fclose(file);
	ifindex = strtoul(argv[3], NULL, 10);
	repeat = atoi(argv[4]);
	calls = atoi(argv[5]);
	if (strcmp(argv[6], "-"))
		map_ring(argv[6]);
	pthread_barrier_init(&start, NULL, cpus);
	for (int i = 0; i < cpus; i++) {
		struct sched_param first = {.sched_priority = 1};
		pthread_attr_t attributes;
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(atoi(argv[7 + i]), &set);
		pthread_attr_init(&attributes);
		pthread_attr_setaffinity_np(&attributes, sizeof(set), &set);
		/* Ahead of every other process, or two threads would not run at the same time. */
		pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED);
		pthread_attr_setschedpolicy(&attributes, SCHED_FIFO);
		pthread_attr_setschedparam(&attributes, &first);
		if (pthread_create(&threads[i], &attributes, time_cpu, &ns[i]))
			return 1;
	}
	for (int i = 0; i < cpus; i++) {
		pthread_join(threads[i], NULL);
		sum += ns[i];
	}
	printf("{\"ns\": %f}\n", sum / cpus);
	return 0;
}
