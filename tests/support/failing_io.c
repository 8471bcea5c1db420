/* Fails, or kills the process at, the n-th write or fsync below one folder: for tests, by LD_PRELOAD.
 *
 * FAIL_UNDER   the folder; operations on other files are not counted
 * FAIL_AT      a file with two words, "N WHAT": at the N-th operation from the moment on that the file appeared or changed,
 *              WHAT = ENOSPC | EIO | KILL. Read again whenever it changes; N = 0 counts and does nothing.
 * After the failing operation everything works again, as on a disk on which somebody made room.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct timespec read_at;
static long left;
static char what[16];

static int is_ours(int fd) {
    const char *under = getenv("FAIL_UNDER");
    char link[64], path[4096];
    if (!under) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strncmp(path, under, strlen(under)) == 0;
}

static void reread(void) {
    const char *plan = getenv("FAIL_AT");
    struct stat now;
    if (!plan || stat(plan, &now)) return;
    if (now.st_mtim.tv_sec == read_at.tv_sec && now.st_mtim.tv_nsec == read_at.tv_nsec) return;
    FILE *file = fopen(plan, "re");
    if (!file) return;
    long number = 0;
    char word[16] = "";
    if (fscanf(file, "%ld %15s", &number, word) == 2) {
        left = number;
        strcpy(what, word);
        read_at = now.st_mtim;
    }
    fclose(file);
}

/* The errno with which this operation fails; 0: it goes ahead. */
static int fails(int fd) {
    int code = 0;
    if (!is_ours(fd)) return 0;
    pthread_mutex_lock(&lock);
    reread();
    if (left > 0 && --left == 0) {
        if (!strcmp(what, "KILL")) kill(getpid(), SIGKILL);
        code = !strcmp(what, "ENOSPC") ? ENOSPC : EIO;
    }
    pthread_mutex_unlock(&lock);
    return code;
}

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, name)
#define FAIL(fd) do { int code = fails(fd); if (code) { errno = code; return -1; } } while (0)

ssize_t write(int fd, const void *data, size_t length) {
    REAL(ssize_t, "write", int, const void *, size_t); FAIL(fd); return real(fd, data, length);
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t at) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t); FAIL(fd); return real(fd, data, length, at);
}
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t at) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t); FAIL(fd); return real(fd, data, length, at);
}
ssize_t writev(int fd, const struct iovec *data, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int); FAIL(fd); return real(fd, data, count);
}
ssize_t pwritev(int fd, const struct iovec *data, int count, off_t at) {
    REAL(ssize_t, "pwritev", int, const struct iovec *, int, off_t); FAIL(fd); return real(fd, data, count, at);
}
ssize_t pwritev64(int fd, const struct iovec *data, int count, off64_t at) {
    REAL(ssize_t, "pwritev64", int, const struct iovec *, int, off64_t); FAIL(fd); return real(fd, data, count, at);
}
int fsync(int fd) { REAL(int, "fsync", int); FAIL(fd); return real(fd); }
int fdatasync(int fd) { REAL(int, "fdatasync", int); FAIL(fd); return real(fd); }
