/* Counts the system calls that change files below one folder, and kills, fails or records at them.
 *
 * Preloaded into a Python process, so that calls of DuckDB's and Arrow's native code are seen too. It does nothing
 * until shim_arm() is called (through ctypes, in a forked child): no trial has to start Python anew.
 * Or it fails every call of some kinds from the start, as a file system without an ability does: CRASH_SHIM_LACKS names
 * them (link symlink flock sync mode rename), CRASH_SHIM_ROOT the folder. Or every file but the first CRASH_SHIM_FILES that
 * are opened there is one too many for the process.
 * Paths come from /proc/self/fd, so there is no table of descriptors to keep.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OFF, COUNT, KILL, FAIL, FULL, SHORT, LACK };
enum { LINK = 1, SYMLINK_ = 2, FLOCK = 4, SYNC = 8, MODE = 16, RENAME = 32 };

static char root[PATH_MAX];
static size_t root_length;
static int mode, failure, trace = -1;
static long at, calls;
static int lacking;

__attribute__((constructor)) static void lacks_from_the_start(void)
{
    static const char *const names[] = {"link", "symlink", "flock", "sync", "mode", "rename"};
    const char *given = getenv("CRASH_SHIM_LACKS"), *folder = getenv("CRASH_SHIM_ROOT");
    const char *files = getenv("CRASH_SHIM_FILES");
    if (!folder) return;
    strncpy(root, folder, sizeof root - 1);
    root_length = strlen(root), mode = LACK, at = files ? atol(files) : 0;
    if (!given) return;
    char words[200];
    snprintf(words, sizeof words, "%s", given);
    for (char *word = strtok(words, " "); word; word = strtok(NULL, " "))
        for (int n = 0; n < 6; n++)
            if (!strcmp(word, names[n])) lacking |= 1 << n;
}

/* Whether this file is one too many. */
static int one_too_many(void)
{
    if (mode != LACK || !at || __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST) <= at) return 0;
    errno = EMFILE;
    return 1;
}

/* Whether the file system lacks what a call needs; errno says so as the kernel does. */
static int lack(int what, int error)
{
    if (mode != LACK || !(lacking & what)) return 0;
    errno = error;
    return 1;
}

/* mode, the number of the call it happens at, errno to fail with, and where to record (-1: nowhere). */
void shim_arm(const char *folder, int what, long number, int error, int record)
{
    strncpy(root, folder, sizeof root - 1);
    root_length = strlen(root);
    at = number, failure = error, trace = record, calls = 0, mode = what;
}
long shim_calls(void) { return calls; }
void shim_disarm(void) { mode = OFF; }

static int below(const char *path)
{
    return mode != OFF && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int of_handle(int handle, char *path)
{
    char link[64];
    if (mode == OFF) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return below(path);
}

static int of_name(int folder, const char *name, char *path)
{
    if (mode == OFF) return 0;
    if (name[0] == '/') { snprintf(path, PATH_MAX, "%s", name); return below(path); }
    if (folder == AT_FDCWD) { if (!getcwd(path, PATH_MAX)) return 0; }
    else if (!of_handle(folder, path)) return 0;
    size_t length = strlen(path);
    snprintf(path + length, PATH_MAX - length, "/%s", name);
    return below(path);
}

static void all(const void *data, size_t size)
{
    while (size) {
        long done = syscall(SYS_write, trace, data, size);
        if (done <= 0) _exit(99);
        data = (const char *)data + done, size -= done;
    }
}

/* One record: a line of fields, then the bytes written. */
static void note(const char *op, const char *path, const char *other, long offset, const void *data, size_t size)
{
    if (trace < 0) return;
    char line[2 * PATH_MAX + 100];
    int length = snprintf(line, sizeof line, "%s\t%s\t%s\t%ld\t%zu\n", op, path, other, offset, size);
    all(line, length);
    all(data, size);
}
void shim_mark(const char *text) { note("mark", text, "", 0, "", 0); }

/* What is to happen to this call: 0 go on, -1 fail (errno is set), 1 write only a part. */
static int step(int writes)
{
    if (mode == LACK) return 0;
    long number = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    if (mode == KILL && number == at) kill(getpid(), SIGKILL);
    if ((mode == FAIL && number == at) || (mode == FULL && number >= at && writes)) { errno = failure; return -1; }
    return mode == SHORT && number == at;
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

#define OPEN(name, folder_parameter, folder, ...)                                                       \
    int name(folder_parameter const char *given, int flags, ...)                                        \
    {                                                                                                   \
        REAL(name);                                                                                     \
        va_list rest; va_start(rest, flags);                                                            \
        mode_t bits = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                         \
        va_end(rest);                                                                                   \
        char path[PATH_MAX];                                                                            \
        if (!of_name(folder, given, path)) return real(__VA_ARGS__);                                    \
        if (one_too_many()) return -1;                                                                  \
        if (!(flags & (O_CREAT | O_TRUNC))) return real(__VA_ARGS__);                                   \
        struct stat status;                                                                             \
        int is_new = stat(path, &status) != 0;                                                          \
        if (!is_new && !(flags & O_TRUNC)) return real(__VA_ARGS__);                                    \
        if (step(is_new) < 0) return -1;                                                                \
        int handle = real(__VA_ARGS__);                                                                 \
        if (handle >= 0) note(is_new ? "create" : "truncate", path, "", 0, "", 0);                      \
        return handle;                                                                                  \
    }
#define NONE
#define FOLDER int folder,
OPEN(open, NONE, AT_FDCWD, given, flags, bits)
OPEN(open64, NONE, AT_FDCWD, given, flags, bits)
OPEN(openat, FOLDER, folder, folder, given, flags, bits)
OPEN(openat64, FOLDER, folder, folder, given, flags, bits)

static long position(int handle)
{
    struct stat status;
    if (fcntl(handle, F_GETFL) & O_APPEND) return fstat(handle, &status) ? 0 : status.st_size;
    return lseek(handle, 0, SEEK_CUR);
}

ssize_t write(int handle, const void *data, size_t size)
{
    REAL(write);
    char path[PATH_MAX];
    if (!of_handle(handle, path)) return real(handle, data, size);
    int what = step(1);
    if (what < 0) return -1;
    if (what > 0 && size > 1) size /= 2;
    long offset = position(handle);
    ssize_t done = real(handle, data, size);
    if (done > 0) note("write", path, "", offset, data, done);
    return done;
}

#define PWRITE(name, offset_type)                                                     \
    ssize_t name(int handle, const void *data, size_t size, offset_type offset)       \
    {                                                                                 \
        REAL(name);                                                                   \
        char path[PATH_MAX];                                                          \
        if (!of_handle(handle, path)) return real(handle, data, size, offset);        \
        int what = step(1);                                                           \
        if (what < 0) return -1;                                                      \
        if (what > 0 && size > 1) size /= 2;                                          \
        ssize_t done = real(handle, data, size, offset);                              \
        if (done > 0) note("write", path, "", offset, data, done);                    \
        return done;                                                                  \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

/* As single writes: the callers handle short ones. */
ssize_t writev(int handle, const struct iovec *vector, int count)
{
    REAL(writev);
    char path[PATH_MAX];
    if (!of_handle(handle, path)) return real(handle, vector, count);
    ssize_t total = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = write(handle, vector[i].iov_base, vector[i].iov_len);
        if (done < 0) return total ? total : done;
        total += done;
        if ((size_t)done < vector[i].iov_len) break;
    }
    return total;
}

static int is_folder(int handle)
{
    struct stat status;
    return !fstat(handle, &status) && S_ISDIR(status.st_mode);
}

#define ON_HANDLE(name, op, writes, parameters, offset, ...)          \
    int name parameters                                               \
    {                                                                 \
        REAL(name);                                                   \
        char path[PATH_MAX];                                          \
        if (!of_handle(handle, path)) return real(__VA_ARGS__);       \
        if (!strcmp(op, "fsync") && is_folder(handle) && lack(SYNC, EINVAL)) return -1; \
        if (!strcmp(op, "chmod") && lack(MODE, EPERM)) return -1;     \
        if (step(writes) < 0) {                                       \
            note("failed", path, op, 0, "", 0);                       \
            errno = failure;                                          \
            return -1;                                                \
        }                                                             \
        int result = real(__VA_ARGS__);                               \
        if (!result) note(op, path, "", offset, "", 0);               \
        return result;                                                \
    }
ON_HANDLE(fsync, "fsync", 1, (int handle), 0, handle)
ON_HANDLE(fdatasync, "fsync", 1, (int handle), 0, handle)
ON_HANDLE(ftruncate, "truncate", 1, (int handle, off_t size), size, handle, size)
ON_HANDLE(ftruncate64, "truncate", 1, (int handle, off64_t size), size, handle, size)
ON_HANDLE(fchmod, "chmod", 0, (int handle, mode_t bits), bits, handle, bits)

#define ON_NAME(name, op, writes, parameters, folder, given, ...)        \
    int name parameters                                                  \
    {                                                                    \
        REAL(name);                                                      \
        char path[PATH_MAX];                                             \
        if (!of_name(folder, given, path)) return real(__VA_ARGS__);     \
        if (!strcmp(op, "chmod") && lack(MODE, EPERM)) return -1;        \
        if (step(writes) < 0) return -1;                                 \
        int result = real(__VA_ARGS__);                                  \
        if (!result) note(op, path, "", 0, "", 0);                       \
        return result;                                                   \
    }
ON_NAME(unlink, "unlink", 0, (const char *name), AT_FDCWD, name, name)
ON_NAME(unlinkat, flags & AT_REMOVEDIR ? "rmdir" : "unlink", 0, (int folder, const char *name, int flags), folder, name,
        folder, name, flags)
ON_NAME(rmdir, "rmdir", 0, (const char *name), AT_FDCWD, name, name)
ON_NAME(mkdir, "mkdir", 1, (const char *name, mode_t bits), AT_FDCWD, name, name, bits)
ON_NAME(mkdirat, "mkdir", 1, (int folder, const char *name, mode_t bits), folder, name, folder, name, bits)
ON_NAME(chmod, "chmod", 0, (const char *name, mode_t bits), AT_FDCWD, name, name, bits)
ON_NAME(fchmodat, "chmod", 0, (int folder, const char *name, mode_t bits, int flags), folder, name, folder, name, bits,
        flags)

#define TWO_NAMES(name, op, parameters, folder, given, other_folder, other_given, ...)                      \
    int name parameters                                                                                    \
    {                                                                                                      \
        REAL(name);                                                                                        \
        char path[PATH_MAX], other[PATH_MAX];                                                              \
        of_name(folder, given, path);                                                                      \
        if (!of_name(other_folder, other_given, other)) return real(__VA_ARGS__);                          \
        if (!strcmp(op, "link") && lack(LINK, EPERM)) return -1;                                           \
        if (step(1) < 0) return -1;                                                                        \
        int result = real(__VA_ARGS__);                                                                    \
        if (!result) note(op, path, other, 0, "", 0);                                                      \
        return result;                                                                                     \
    }
TWO_NAMES(rename, "rename", (const char *a, const char *b), AT_FDCWD, a, AT_FDCWD, b, a, b)
TWO_NAMES(renameat, "rename", (int f, const char *a, int g, const char *b), f, a, g, b, f, a, g, b)
TWO_NAMES(link, "link", (const char *a, const char *b), AT_FDCWD, a, AT_FDCWD, b, a, b)
TWO_NAMES(linkat, "link", (int f, const char *a, int g, const char *b, int flags), f, a, g, b, f, a, g, b, flags)

/* The text of a symbolic link is no path to resolve. */
#define SYMLINK(name, parameters, folder, ...)                             \
    int name parameters                                                    \
    {                                                                      \
        REAL(name);                                                        \
        char path[PATH_MAX];                                               \
        if (!of_name(folder, given, path)) return real(__VA_ARGS__);       \
        if (lack(SYMLINK_, EPERM)) return -1;                              \
        if (step(1) < 0) return -1;                                        \
        int result = real(__VA_ARGS__);                                    \
        if (!result) note("symlink", text, path, 0, "", 0);                \
        return result;                                                     \
    }
SYMLINK(symlink, (const char *text, const char *given), AT_FDCWD, text, given)
SYMLINK(symlinkat, (const char *text, int folder, const char *given), folder, text, folder, given)

/* Not steps of a trial of kills, only what a file system may lack. */
int flock(int handle, int operation)
{
    REAL(flock);
    char path[PATH_MAX];
    return of_handle(handle, path) && lack(FLOCK, ENOLCK) ? -1 : real(handle, operation);
}

int renameat2(int f, const char *a, int g, const char *b, unsigned flags)
{
    REAL(renameat2);
    char path[PATH_MAX];
    return of_name(g, b, path) && lack(RENAME, EINVAL) ? -1 : real(f, a, g, b, flags);
}
