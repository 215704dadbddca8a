/* SPDX-License-Identifier: MIT */
/*
 * Runs a command with its output in a file, and prints its cost: measure OUTPUT COMMAND [ARGUMENT...]
 *
 * The command runs ahead of every other process, so that the others are not measured.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static double milliseconds(struct timeval time)
{
	return time.tv_sec * 1e3 + time.tv_usec / 1e3;
}

int main(int argc, char **argv)
{
	struct sched_param first = {.sched_priority = 1};
	struct rusage usage;
	double start, end;
	int status;
	pid_t pid;

	if (argc < 3)
		return 64;
	start = now_ms();
	pid = fork();
	if (pid == 0) {
		int output = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0600);

		if (output < 0 || sched_setscheduler(0, SCHED_FIFO, &first) ||
		    dup2(output, STDOUT_FILENO) < 0)
			_exit(126);
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &usage) < 0) {
		perror("measure");
		return 1;
	}
	end = now_ms();
	printf("{\"wallMs\": %f, \"userMs\": %f, \"systemMs\": %f, \"peakKb\": %ld, \"exit\": %d}\n",
	       end - start, milliseconds(usage.ru_utime), milliseconds(usage.ru_stime), usage.ru_maxrss,
	       WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	return 0;
}
