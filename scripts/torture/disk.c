/* Lets the Nth call that changes a file below a folder fail, and every later one as well unless it is EIO.
 *
 * Preloaded.  DISK_FOLDER: the folder; DISK_COUNT: a file of 8 bytes in which all processes count their calls;
 * DISK_FAIL: N, from 1, or 0 for none; DISK_ERROR: the error number. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static volatile long *calls;
static long fail_at;
static int error_number;
static const char *folder;

__attribute__((constructor)) static void start(void) {
    const char *count = getenv("DISK_COUNT"), *nth = getenv("DISK_FAIL"), *error = getenv("DISK_ERROR");
    folder = getenv("DISK_FOLDER");
    if (!folder || !count || !nth || !error) return;
    int file = open(count, O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof(long), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped == MAP_FAILED) return;
    fail_at = atol(nth);
    error_number = atoi(error);
    calls = mapped;
}

static int fails(const char *path) {
    if (!calls || !path || strncmp(path, folder, strlen(folder)) != 0) return 0;
    long number = __sync_add_and_fetch(calls, 1);
    if (!fail_at || number < fail_at || (number > fail_at && error_number == EIO)) return 0;
    errno = error_number;
    return 1;
}

static int fails_at(int directory, const char *path) {
    char full[PATH_MAX * 2], base[PATH_MAX], link[64];
    if (!calls || !path) return 0;
    if (path[0] == '/') return fails(path);
    if (directory == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return 0;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
        ssize_t length = readlink(link, base, sizeof base - 1);
        if (length < 0) return 0;
        base[length] = 0;
    }
    snprintf(full, sizeof full, "%s/%s", base, path);
    return fails(full);
}

static int fails_fd(int file) {
    char link[64], path[PATH_MAX];
    if (!calls) return 0;
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < 0) return 0;
    path[length] = 0;
    return fails(path);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define ON_FD(type, name, parameters, arguments) \
    type name parameters { return fails_fd(file) ? -1 : NEXT(name) arguments; }
#define ON_PATH(type, name, parameters, arguments) \
    type name parameters { return fails_at(AT_FDCWD, path) ? -1 : NEXT(name) arguments; }

ON_FD(ssize_t, write, (int file, const void *content, size_t size), (file, content, size))
ON_FD(ssize_t, pwrite, (int file, const void *content, size_t size, off_t at), (file, content, size, at))
ON_FD(ssize_t, pwrite64, (int file, const void *content, size_t size, off64_t at), (file, content, size, at))
ON_FD(ssize_t, writev, (int file, const struct iovec *parts, int count), (file, parts, count))
ON_FD(int, ftruncate, (int file, off_t size), (file, size))
ON_FD(int, ftruncate64, (int file, off64_t size), (file, size))
ON_PATH(int, mkdir, (const char *path, mode_t mode), (path, mode))
ON_PATH(int, link, (const char *from, const char *path), (from, path))
ON_PATH(int, symlink, (const char *from, const char *path), (from, path))
ON_PATH(int, rename, (const char *from, const char *path), (from, path))

int renameat(int from_folder, const char *from, int to_folder, const char *path) {
    return fails_at(to_folder, path) ? -1 : NEXT(renameat)(from_folder, from, to_folder, path);
}

int mkdirat(int directory, const char *path, mode_t mode) {
    return fails_at(directory, path) ? -1 : NEXT(mkdirat)(directory, path, mode);
}

int posix_fallocate(int file, off_t at, off_t size) { /* returns the error */
    return fails_fd(file) ? error_number : NEXT(posix_fallocate)(file, at, size);
}

int posix_fallocate64(int file, off64_t at, off64_t size) {
    return fails_fd(file) ? error_number : NEXT(posix_fallocate64)(file, at, size);
}

size_t fwrite(const void *content, size_t size, size_t count, FILE *file) {
    return fails_fd(fileno(file)) ? 0 : NEXT(fwrite)(content, size, count, file);
}

#define OPEN(name, parameters, directory, ...) \
    int name(parameters const char *path, int flags, ...) { \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        if ((flags & O_CREAT) && fails_at(directory, path)) return -1; \
        return NEXT(name)(__VA_ARGS__); \
    }
#define FOLDER int directory,
OPEN(open, , AT_FDCWD, path, flags, mode)
OPEN(open64, , AT_FDCWD, path, flags, mode)
OPEN(openat, FOLDER, directory, directory, path, flags, mode)
OPEN(openat64, FOLDER, directory, directory, path, flags, mode)
