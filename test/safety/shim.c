/*
 * Stands between snoopy and libc (LD_PRELOAD): counts the calls that change something, or those that only
 * read, and at one of them kills the process or makes the call fail. Only snoopy's own calls count, not those
 * of Node, its threads or the dynamic linker, so the same run has the same numbers each time.
 *
 *   SHIM_LOG    file that gets a line for every call that counts, and "!" where a fault was injected
 *   SHIM_ROOTS  directories, separated by colons: calls about other files do not count
 *   SHIM_COUNT  change | look | all
 *   SHIM_ONLY   a line of the log, as a pattern: only such calls count
 *   SHIM_AT     number of the call, from 1 on
 *   SHIM_ON     1: at all later calls too
 *   SHIM_DO     stop | stop-after | kill | kill-after | number of an errno | refuse: the kernel gets the first request
 *               of a netlink datagram with a type that it does not know
 *   SHIM_HIDE   a kind of qdisc or filter: the kernel gets it under a name that it does not know
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Above RTM_MAX: EOPNOTSUPP. */
#define RTM_UNKNOWN 0x7ff0

/* Linux 6.12's headers have all of them, Debian 12's 6.1 too. */
static const char *const commands[] = {
	[BPF_MAP_CREATE] = "MAP_CREATE",
	[BPF_MAP_LOOKUP_ELEM] = "MAP_LOOKUP_ELEM",
	[BPF_MAP_UPDATE_ELEM] = "MAP_UPDATE_ELEM",
	[BPF_MAP_DELETE_ELEM] = "MAP_DELETE_ELEM",
	[BPF_MAP_GET_NEXT_KEY] = "MAP_GET_NEXT_KEY",
	[BPF_PROG_LOAD] = "PROG_LOAD",
	[BPF_OBJ_PIN] = "OBJ_PIN",
	[BPF_OBJ_GET] = "OBJ_GET",
	[BPF_OBJ_GET_INFO_BY_FD] = "OBJ_GET_INFO_BY_FD",
	[BPF_BTF_LOAD] = "BTF_LOAD",
	[BPF_MAP_FREEZE] = "MAP_FREEZE",
	[BPF_MAP_LOOKUP_BATCH] = "MAP_LOOKUP_BATCH",
	[BPF_MAP_UPDATE_BATCH] = "MAP_UPDATE_BATCH",
	[BPF_MAP_DELETE_BATCH] = "MAP_DELETE_BATCH",
	[BPF_LINK_CREATE] = "LINK_CREATE",
	[BPF_LINK_UPDATE] = "LINK_UPDATE",
	[BPF_LINK_DETACH] = "LINK_DETACH",
	[BPF_PROG_BIND_MAP] = "PROG_BIND_MAP",
	[BPF_PROG_QUERY] = "PROG_QUERY",
};

enum kind { LOOK, CHANGE, ALL };

static enum kind counted;
static const char *roots, *only, *hidden;
static int log_fd = -1;
static long count, at;
static bool stops, stops_after, kills, kills_after, refuses, goes_on;
static int error;
static bool is_due_after, is_due_refusal;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static long kernel(long number, long a, long b, long c)
{
	static __typeof__(&syscall) real;

	if (!real)
		real = REAL(syscall);
	return real(number, a, b, c);
}

__attribute__((constructor)) static void begin(void)
{
	const char *what = getenv("SHIM_DO"), *number = getenv("SHIM_AT"), *log = getenv("SHIM_LOG");
	const char *kind = getenv("SHIM_COUNT");

	/* Not for what snoopy starts, such as vtysh. */
	if (!strcmp(program_invocation_short_name, "node"))
		unsetenv("LD_PRELOAD");
	roots = getenv("SHIM_ROOTS");
	only = getenv("SHIM_ONLY");
	goes_on = getenv("SHIM_ON");
	hidden = getenv("SHIM_HIDE");
	counted = CHANGE;
	if (kind && !strcmp(kind, "look"))
		counted = LOOK;
	if (kind && !strcmp(kind, "all"))
		counted = ALL;
	at = number ? atol(number) : 0;
	stops = what && !strcmp(what, "stop");
	stops_after = what && !strcmp(what, "stop-after");
	kills = what && !strcmp(what, "kill");
	kills_after = what && !strcmp(what, "kill-after");
	refuses = what && !strcmp(what, "refuse");
	error = what && !kills && !kills_after && !refuses ? atoi(what) : 0;
	if (log)
		log_fd = kernel(SYS_open, (long)log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void end(void)
{
	kernel(SYS_kill, getpid(), SIGKILL, 0);
}

/* True when the call must fail, with errno set. */
static bool meets(enum kind kind, const char *name, const char *object)
{
	char line[1100];
	int length;

	if ((kind != counted && counted != ALL) || getpid() != kernel(SYS_gettid, 0, 0, 0))
		return false;
	length = snprintf(line, sizeof(line), "%s %.1000s\n", name, object);
	if (log_fd >= 0)
		kernel(SYS_write, log_fd, (long)line, length);
	line[length - 1] = 0;
	if ((only && fnmatch(only, line, 0)) || ++count < at || (count > at && !goes_on))
		return false;
	if (log_fd >= 0)
		kernel(SYS_write, log_fd, (long)"!\n", 2);
	if (stops)
		kernel(SYS_kill, getpid(), SIGSTOP, 0);
	if (kills)
		end();
	is_due_after = kills_after || stops_after;
	is_due_refusal = refuses;
	errno = error;
	return error != 0;
}

/* After the call, whose errno stays. */
static long passed(long result)
{
	if (is_due_after && kills_after)
		end();
	if (is_due_after)
		kernel(SYS_kill, getpid(), SIGSTOP, 0);
	is_due_after = false;
	return result;
}

static bool is_ours(const char *path)
{
	const char *root = roots;

	while (path && root && *root) {
		size_t length = strcspn(root, ":");

		if (!strncmp(path, root, length) &&
		    (path[length] == '/' || path[length] == 0 || path[length] == '.'))
			return true;
		root += length + (root[length] == ':');
	}
	return false;
}

/* The object behind a descriptor: a path, or a text such as anon_inode:bpf-map. */
static const char *path_of(int fd, char *path, size_t size)
{
	char link[64];
	long length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = kernel(SYS_readlink, (long)link, (long)path, size - 1);
	path[length < 0 ? 0 : length] = 0;
	return path;
}

static const char *map_name(int fd, char *name)
{
	struct bpf_map_info info = {};
	union bpf_attr attr = {.info = {.bpf_fd = fd, .info_len = sizeof(info), .info = (uintptr_t)&info}};

	kernel(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, (long)&attr, sizeof(attr));
	return strcpy(name, info.name);
}

static bool meets_bpf(long command, const union bpf_attr *attr)
{
	const char *known = (size_t)command < sizeof(commands) / sizeof(*commands) ? commands[command] : NULL;
	const char *object = "";
	enum kind kind = CHANGE;
	char name[32], text[32];

	switch (command) {
	case BPF_MAP_CREATE:
		/* A kernel without ring buffers refuses each, whatever its name. */
		object = attr->map_type == BPF_MAP_TYPE_RINGBUF ? "ring buffer" : attr->map_name;
		break;
	case BPF_PROG_LOAD:
		object = attr->prog_name;
		/* libbpf probes the features of the kernel. */
		kind = strcmp(object, "snoopy") ? LOOK : CHANGE;
		break;
	case BPF_BTF_LOAD:
		kind = LOOK;
		break;
	case BPF_OBJ_PIN:
		object = (const char *)(uintptr_t)attr->pathname;
		break;
	case BPF_OBJ_GET:
		kind = LOOK;
		object = (const char *)(uintptr_t)attr->pathname;
		break;
	case BPF_MAP_LOOKUP_BATCH:
		kind = LOOK;
		object = map_name(attr->batch.map_fd, name);
		break;
	case BPF_MAP_UPDATE_BATCH:
	case BPF_MAP_DELETE_BATCH:
		object = map_name(attr->batch.map_fd, name);
		break;
	case BPF_MAP_LOOKUP_ELEM:
	case BPF_MAP_GET_NEXT_KEY:
		kind = LOOK;
		object = map_name(attr->map_fd, name);
		break;
	case BPF_MAP_UPDATE_ELEM:
	case BPF_MAP_DELETE_ELEM:
		object = map_name(attr->map_fd, name);
		break;
	case BPF_OBJ_GET_INFO_BY_FD:
	case BPF_PROG_QUERY:
	case BPF_PROG_GET_FD_BY_ID:
	case BPF_LINK_GET_NEXT_ID:
	case BPF_LINK_GET_FD_BY_ID:
		kind = LOOK;
		break;
	}
	snprintf(text, sizeof(text), "bpf:%s", known ? known : "OTHER");
	return meets(kind, text, object);
}

long syscall(long number, ...)
{
	static __typeof__(&syscall) real;
	long a[6];
	va_list arguments;

	if (!real)
		real = REAL(syscall);
	va_start(arguments, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(arguments, long);
	va_end(arguments);
	if (number == SYS_bpf && meets_bpf(a[0], (const union bpf_attr *)a[1]))
		return -1;
	if (number == SYS_statx && is_ours((const char *)a[1]) && meets(LOOK, "statx", (const char *)a[1]))
		return -1;
	return passed(real(number, a[0], a[1], a[2], a[3], a[4], a[5]));
}

static bool meets_message(int fd, const void *bytes, size_t length)
{
	const struct nlmsghdr *first = bytes;
	int domain = 0;
	char type[16];

	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &(socklen_t){sizeof(domain)});
	if (domain == AF_PACKET)
		return meets(CHANGE, "send", "packet");
	if (domain != AF_NETLINK || length < sizeof(*first))
		return false;
	/* RTM_NEW*, RTM_DEL*, RTM_GET*, RTM_SET*: the last two bits tell them apart. */
	snprintf(type, sizeof(type), "netlink:%d", first->nlmsg_type);
	return meets((first->nlmsg_type & 3) == 2 ? LOOK : CHANGE, "send", type);
}

/* As a string of its own, which ends with a zero. */
static void hide(void *bytes, size_t length)
{
	size_t size = hidden ? strlen(hidden) + 1 : 0;
	char *found = bytes, *end = found + length;

	while (size && (found = memmem(found, end - found, hidden, size)))
		*found = '?';
}

ssize_t send(int fd, const void *bytes, size_t length, int flags)
{
	if (meets_message(fd, bytes, length))
		return -1;
	hide((void *)(uintptr_t)bytes, length);
	if (is_due_refusal) {
		((struct nlmsghdr *)(uintptr_t)bytes)->nlmsg_type = RTM_UNKNOWN;
		is_due_refusal = false;
	}
	return passed(REAL(send)(fd, bytes, length, flags));
}

ssize_t sendto(int fd, const void *bytes, size_t length, int flags, const struct sockaddr *to, socklen_t size)
{
	if (meets_message(fd, bytes, length))
		return -1;
	return passed(REAL(sendto)(fd, bytes, length, flags, to, size));
}

ssize_t recv(int fd, void *bytes, size_t length, int flags)
{
	return meets(LOOK, "recv", "netlink") ? -1 : REAL(recv)(fd, bytes, length, flags);
}

int recvmmsg(int fd, struct mmsghdr *headers, unsigned int count, int flags, struct timespec *timeout)
{
	return meets(LOOK, "recv", "netlink") ? -1 : REAL(recvmmsg)(fd, headers, count, flags, timeout);
}

int socket(int domain, int type, int protocol)
{
	if ((domain == AF_NETLINK || domain == AF_PACKET) &&
	    meets(LOOK, "socket", domain == AF_NETLINK ? "netlink" : "packet"))
		return -1;
	return REAL(socket)(domain, type, protocol);
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	char path[512];

	if (fd >= 0 && (flags & MAP_SHARED) &&
	    !strcmp(path_of(fd, path, sizeof(path)), "anon_inode:bpf-map") &&
	    meets(CHANGE, "mmap", protection & PROT_WRITE ? "ring, to write" : "ring, to read"))
		return MAP_FAILED;
	return (void *)passed((long)REAL(mmap)(address, length, protection, flags, fd, offset));
}

int flock(int fd, int operation)
{
	char path[512];

	if (is_ours(path_of(fd, path, sizeof(path))) && meets(CHANGE, "flock", path))
		return -1;
	return passed(REAL(flock)(fd, operation));
}

extern int mount(const char *source, const char *target, const char *type, unsigned long flags,
		 const void *data);

int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)
{
	return meets(CHANGE, "mount", target) ? -1 : passed(REAL(mount)(source, target, type, flags, data));
}

int mkdir(const char *path, mode_t mode)
{
	return is_ours(path) && meets(CHANGE, "mkdir", path) ? -1 : passed(REAL(mkdir)(path, mode));
}

int rmdir(const char *path)
{
	return is_ours(path) && meets(CHANGE, "rmdir", path) ? -1 : passed(REAL(rmdir)(path));
}

int unlink(const char *path)
{
	return is_ours(path) && meets(CHANGE, "unlink", path) ? -1 : passed(REAL(unlink)(path));
}

int rename(const char *from, const char *to)
{
	return is_ours(to) && meets(CHANGE, "rename", to) ? -1 : passed(REAL(rename)(from, to));
}

int utimensat(int directory, const char *path, const struct timespec times[2], int flags)
{
	if (is_ours(path) && meets(CHANGE, "utimensat", path))
		return -1;
	return passed(REAL(utimensat)(directory, path, times, flags));
}

int fchmod(int fd, mode_t mode)
{
	char path[512];

	if (is_ours(path_of(fd, path, sizeof(path))) && meets(CHANGE, "fchmod", path))
		return -1;
	return passed(REAL(fchmod)(fd, mode));
}

ssize_t write(int fd, const void *bytes, size_t length)
{
	char path[512];

	if ((fd == 1 || is_ours(path_of(fd, path, sizeof(path)))) &&
	    meets(CHANGE, "write", fd == 1 ? "stdout" : path))
		return -1;
	return passed(REAL(write)(fd, bytes, length));
}

int open64(const char *path, int flags, ...)
{
	va_list arguments;
	int mode;

	va_start(arguments, flags);
	mode = va_arg(arguments, int);
	va_end(arguments);
	if (is_ours(path) && meets(flags & (O_WRONLY | O_RDWR | O_CREAT) ? CHANGE : LOOK, "open", path))
		return -1;
	return passed(REAL(open64)(path, flags, mode));
}

int scandir64(const char *path, struct dirent64 ***names, int (*filter)(const struct dirent64 *),
	      int (*compare)(const struct dirent64 **, const struct dirent64 **))
{
	if (is_ours(path) && meets(LOOK, "scandir", path))
		return -1;
	return REAL(scandir64)(path, names, filter, compare);
}

int statfs64(const char *path, struct statfs64 *found)
{
	return is_ours(path) && meets(LOOK, "statfs", path) ? -1 : REAL(statfs64)(path, found);
}

int access(const char *path, int mode)
{
	return is_ours(path) && meets(LOOK, "access", path) ? -1 : REAL(access)(path, mode);
}
