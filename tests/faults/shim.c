/* What a process does to the files below one folder: written to a log, refused, or the last that it does.

   Preloaded (LD_PRELOAD); shim.py builds it, and says what the log holds. It does nothing until
   shim_begin is called, and speaks of calls that go through the C library's names: those of Python, of
   SQLite and, through fopen, of usearch. tests/faults/test_crashes.py holds that the log is complete:
   done again on a copy, it gives the same bytes. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, WRITE, TRUNCATE, SYNC, SYNC_DIRECTORY, RENAME, UNLINK, MKDIR, RMDIR, LINK, MARK };

/* Kinds of calls that are counted, and may be refused. */
enum { K_OPEN = 1, K_WRITE = 2, K_TRUNCATE = 4, K_SYNC = 8, K_RENAME = 16, K_UNLINK = 32, K_MAKE = 64, K_READ = 128 };

struct record {
  uint32_t op, first, second, bytes; /* lengths of two paths and of the data that follow */
  int64_t file, offset;              /* inode; where, or the new size, or flags */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_length;
static int active, log_descriptor = -1, refusal, lasting, no_sync;
static long calls, fail_at, calls_of[8];
static unsigned kinds;
static char refused[PATH_MAX + 64];

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) {
  void *found = dlsym(RTLD_NEXT, name);
  if (!found) abort();
  return found;
}

void shim_begin(const char *folder, const char *log, long nth, int code, int last, unsigned counted) {
  pthread_mutex_lock(&mutex);
  snprintf(root, sizeof root, "%s", folder);
  root_length = strlen(root);
  memset(calls_of, 0, sizeof calls_of);
  calls = 0, fail_at = nth, refusal = code, lasting = last, kinds = counted;
  refused[0] = 0;
  log_descriptor = -1;
  if (log && *log)
    log_descriptor = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  active = 1;
  pthread_mutex_unlock(&mutex);
}

void shim_end(void) {
  pthread_mutex_lock(&mutex);
  active = 0;
  if (log_descriptor >= 0) syscall(SYS_close, log_descriptor);
  log_descriptor = -1;
  pthread_mutex_unlock(&mutex);
}

/* Calls of some kinds, those that are not counted for a refusal too; but for reading, which then is not seen. */
long shim_calls(unsigned of) {
  long found = 0;
  for (int i = 0; i < 8; i++)
    if (of >> i & 1) found += calls_of[i];
  return found;
}
const char *shim_refused(void) { return refused; }
void shim_no_sync(int on) { no_sync = on; }

static void put(const void *data, size_t size) {
  const char *at = data;
  while (size) {
    long done = syscall(SYS_write, log_descriptor, at, size);
    if (done <= 0) abort();
    at += done, size -= (size_t)done;
  }
}

static void tell(uint32_t op, int64_t file, int64_t offset, const char *first, const char *second,
                 const void *data, size_t size) {
  if (log_descriptor < 0) return;
  struct record one = {op, first ? (uint32_t)strlen(first) : 0, second ? (uint32_t)strlen(second) : 0,
                       (uint32_t)size, file, offset};
  put(&one, sizeof one);
  if (first) put(first, one.first);
  if (second) put(second, one.second);
  if (size) put(data, size);
}

void shim_mark(int number) {
  pthread_mutex_lock(&mutex);
  if (active) tell(MARK, 0, number, NULL, NULL, NULL, 0);
  pthread_mutex_unlock(&mutex);
}

/* The path below the root, "" for the root itself; NULL where it is not below. */
static const char *below(const char *path) {
  if (strncmp(path, root, root_length)) return NULL;
  if (!path[root_length]) return "";
  return path[root_length] == '/' ? path + root_length + 1 : NULL;
}

static const char *of_descriptor(int descriptor, char *into) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t size = readlink(link, into, PATH_MAX - 1);
  if (size < 0) return NULL;
  into[size] = 0;
  return below(into);
}

static const char *of_path(int directory, const char *path, char *into) {
  char base[PATH_MAX];
  if (!path) return NULL;
  if (*path == '/') {
    snprintf(into, PATH_MAX, "%s", path);
    return below(into);
  }
  if (directory == AT_FDCWD) {
    if (!getcwd(base, sizeof base)) return NULL;
  } else {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    ssize_t size = readlink(link, base, sizeof base - 1);
    if (size < 0) return NULL;
    base[size] = 0;
  }
  if (snprintf(into, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) return NULL;
  return below(into);
}

/* Whether this call is to be refused; without an errno the process is killed before it. The mutex is held. */
static int counted(unsigned kind, const char *name, const char *path) {
  calls_of[__builtin_ctz(kind)]++;
  if (!(kinds & kind)) return 0;
  calls++;
  if (!fail_at || calls < fail_at || (calls > fail_at && !lasting)) return 0;
  if (!refusal) syscall(SYS_kill, getpid(), SIGKILL);
  if (!refused[0]) snprintf(refused, sizeof refused, "%s %s", name, path);
  errno = refusal;
  return 1;
}

/* Every call: find out whether it is ours, count it, do it, log it, all of it under the mutex so that the
   order of the log is that of what was done. */
#define BEGIN(kind, name, where, otherwise)               \
  if (!active) return otherwise;                          \
  pthread_mutex_lock(&mutex);                             \
  const char *ours = where;                               \
  if (!ours) {                                            \
    pthread_mutex_unlock(&mutex);                         \
    return otherwise;                                     \
  }                                                       \
  if (counted(kind, name, ours)) {                        \
    pthread_mutex_unlock(&mutex);                         \
    return -1;                                            \
  }
#define END(result)                                       \
  do {                                                    \
    int code = errno;                                     \
    pthread_mutex_unlock(&mutex);                         \
    errno = code;                                         \
    return result;                                        \
  } while (0)

static int64_t inode(int descriptor) {
  struct stat status;
  return fstat(descriptor, &status) ? -1 : (int64_t)status.st_ino;
}

static int opened(int directory, const char *path, int flags, mode_t mode) {
  char absolute[PATH_MAX];
  int (*next)(int, const char *, int, ...) = REAL(openat);
  BEGIN(K_OPEN, flags & O_CREAT ? "open(O_CREAT)" : "open", of_path(directory, path, absolute),
        next(directory, path, flags, mode))
  struct stat before;
  int there = fstatat(directory, path, &before, 0) == 0;
  int result = next(directory, path, flags, mode);
  if (result >= 0) {
    if (!there) tell(OPEN, inode(result), 0, ours, NULL, NULL, 0);
    else if ((flags & O_TRUNC) && before.st_size) tell(TRUNCATE, inode(result), 0, ours, NULL, NULL, 0);
  }
  END(result);
}

#define MODE(flags)                                       \
  mode_t mode = 0;                                        \
  if (flags & (O_CREAT | O_TMPFILE)) {                    \
    va_list list;                                         \
    va_start(list, flags);                                \
    mode = va_arg(list, mode_t);                          \
    va_end(list);                                         \
  }

int open(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int openat(int directory, const char *path, int flags, ...) { MODE(flags) return opened(directory, path, flags, mode); }
int openat64(int directory, const char *path, int flags, ...) { MODE(flags) return opened(directory, path, flags, mode); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int __open_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }

static ssize_t written(int descriptor, const void *data, size_t size, off_t offset) {
  char absolute[PATH_MAX];
  ssize_t (*next)(int, const void *, size_t) = REAL(write);
  ssize_t (*next_at)(int, const void *, size_t, off_t) = REAL(pwrite);
  BEGIN(K_WRITE, "write", of_descriptor(descriptor, absolute),
        offset < 0 ? next(descriptor, data, size) : next_at(descriptor, data, size, offset))
  off_t at = offset < 0 ? lseek(descriptor, 0, SEEK_CUR) : offset;
  if (offset < 0 && fcntl(descriptor, F_GETFL) & O_APPEND) at = lseek(descriptor, 0, SEEK_END);
  ssize_t result = offset < 0 ? next(descriptor, data, size) : next_at(descriptor, data, size, offset);
  if (result > 0) tell(WRITE, inode(descriptor), at, ours, NULL, data, (size_t)result);
  END(result);
}

ssize_t write(int descriptor, const void *data, size_t size) { return written(descriptor, data, size, -1); }
ssize_t pwrite(int descriptor, const void *data, size_t size, off_t offset) { return written(descriptor, data, size, offset); }
ssize_t pwrite64(int descriptor, const void *data, size_t size, off_t offset) { return written(descriptor, data, size, offset); }

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
  char absolute[PATH_MAX];
  ssize_t (*next)(int, const struct iovec *, int) = REAL(writev);
  if (!active || !of_descriptor(descriptor, absolute)) return next(descriptor, parts, count);
  ssize_t total = 0;
  for (int i = 0; i < count; i++) {
    ssize_t result = parts[i].iov_len ? written(descriptor, parts[i].iov_base, parts[i].iov_len, -1) : 0;
    if (result < 0) return total ? total : -1;
    total += result;
    if ((size_t)result < parts[i].iov_len) break;
  }
  return total;
}

static int cut(int descriptor, off_t size) {
  char absolute[PATH_MAX];
  int (*next)(int, off_t) = REAL(ftruncate);
  BEGIN(K_TRUNCATE, "ftruncate", of_descriptor(descriptor, absolute), next(descriptor, size))
  int result = next(descriptor, size);
  if (!result) tell(TRUNCATE, inode(descriptor), size, ours, NULL, NULL, 0);
  END(result);
}

int ftruncate(int descriptor, off_t size) { return cut(descriptor, size); }
int ftruncate64(int descriptor, off_t size) { return cut(descriptor, size); }

static int cut_path(const char *path, off_t size) {
  char absolute[PATH_MAX];
  int (*next)(const char *, off_t) = REAL(truncate);
  BEGIN(K_TRUNCATE, "truncate", of_path(AT_FDCWD, path, absolute), next(path, size))
  struct stat status;
  int result = next(path, size);
  if (!result && !stat(path, &status)) tell(TRUNCATE, (int64_t)status.st_ino, size, ours, NULL, NULL, 0);
  END(result);
}

int truncate(const char *path, off_t size) { return cut_path(path, size); }
int truncate64(const char *path, off_t size) { return cut_path(path, size); }

static int synced(int descriptor, const char *name, int (*next)(int)) {
  char absolute[PATH_MAX];
  BEGIN(K_SYNC, name, of_descriptor(descriptor, absolute), next(descriptor))
  struct stat status;
  int result = no_sync ? 0 : next(descriptor);
  if (!result && !fstat(descriptor, &status))
    tell(S_ISDIR(status.st_mode) ? SYNC_DIRECTORY : SYNC, (int64_t)status.st_ino, 0, ours, NULL, NULL, 0);
  END(result);
}

int fsync(int descriptor) { return synced(descriptor, "fsync", REAL(fsync)); }
int fdatasync(int descriptor) { return synced(descriptor, "fdatasync", REAL(fdatasync)); }

static int renamed(int old_directory, const char *old, int new_directory, const char *new, unsigned flags) {
  char absolute[PATH_MAX], other[PATH_MAX];
  int (*next)(int, const char *, int, const char *, unsigned) = REAL(renameat2);
  BEGIN(K_RENAME, "rename", of_path(old_directory, old, absolute), next(old_directory, old, new_directory, new, flags))
  const char *to = of_path(new_directory, new, other);
  int result = next(old_directory, old, new_directory, new, flags);
  if (!result) tell(RENAME, 0, flags, ours, to ? to : "", NULL, 0);
  END(result);
}

int rename(const char *old, const char *new) { return renamed(AT_FDCWD, old, AT_FDCWD, new, 0); }
int renameat(int from, const char *old, int to, const char *new) { return renamed(from, old, to, new, 0); }
int renameat2(int from, const char *old, int to, const char *new, unsigned flags) { return renamed(from, old, to, new, flags); }

static int removed(int directory, const char *path, int flags) {
  char absolute[PATH_MAX];
  int (*next)(int, const char *, int) = REAL(unlinkat);
  BEGIN(K_UNLINK, flags & AT_REMOVEDIR ? "rmdir" : "unlink", of_path(directory, path, absolute), next(directory, path, flags))
  int result = next(directory, path, flags);
  if (!result) tell(flags & AT_REMOVEDIR ? RMDIR : UNLINK, 0, 0, ours, NULL, NULL, 0);
  END(result);
}

int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int directory, const char *path, int flags) { return removed(directory, path, flags); }

static int made(int directory, const char *path, mode_t mode) {
  char absolute[PATH_MAX];
  int (*next)(int, const char *, mode_t) = REAL(mkdirat);
  BEGIN(K_MAKE, "mkdir", of_path(directory, path, absolute), next(directory, path, mode))
  int result = next(directory, path, mode);
  if (!result) tell(MKDIR, 0, 0, ours, NULL, NULL, 0);
  END(result);
}

int mkdir(const char *path, mode_t mode) { return made(AT_FDCWD, path, mode); }
int mkdirat(int directory, const char *path, mode_t mode) { return made(directory, path, mode); }

int link(const char *old, const char *new) {
  char absolute[PATH_MAX], other[PATH_MAX];
  int (*next)(const char *, const char *) = REAL(link);
  BEGIN(K_MAKE, "link", of_path(AT_FDCWD, new, absolute), next(old, new))
  const char *from = of_path(AT_FDCWD, old, other);
  int result = next(old, new);
  if (!result) tell(LINK, 0, 0, from ? from : "", ours, NULL, 0);
  END(result);
}

/* Reading: only counted. */
#define READING(name, ...)                                              \
  char absolute[PATH_MAX];                                              \
  if (!active || !(kinds & K_READ)) return REAL(name)(__VA_ARGS__);     \
  BEGIN(K_READ, #name, of_descriptor(descriptor, absolute), REAL(name)(__VA_ARGS__)) \
  END(REAL(name)(__VA_ARGS__));

ssize_t read(int descriptor, void *into, size_t size) { READING(read, descriptor, into, size) }
ssize_t pread(int descriptor, void *into, size_t size, off_t offset) { READING(pread, descriptor, into, size, offset) }
ssize_t pread64(int descriptor, void *into, size_t size, off_t offset) { READING(pread64, descriptor, into, size, offset) }

/* What is written through streams of C: inside of the C library it would not be seen. */
static ssize_t stream_write(void *cookie, const char *data, size_t size) {
  ssize_t result = written((int)(intptr_t)cookie, data, size, -1);
  return result < 0 ? 0 : result;
}
static ssize_t stream_read(void *cookie, char *data, size_t size) { return read((int)(intptr_t)cookie, data, size); }
static int stream_seek(void *cookie, off64_t *offset, int whence) {
  off64_t at = lseek((int)(intptr_t)cookie, *offset, whence);
  if (at < 0) return -1;
  *offset = at;
  return 0;
}
static int stream_close(void *cookie) { return close((int)(intptr_t)cookie); }

static FILE *stream(const char *path, const char *mode, FILE *(*next)(const char *, const char *)) {
  char absolute[PATH_MAX];
  if (!active || !strpbrk(mode, "wa+") || !of_path(AT_FDCWD, path, absolute)) return next(path, mode);
  int flags = strchr(mode, '+') ? O_RDWR : O_WRONLY;
  if (*mode == 'w') flags |= O_CREAT | O_TRUNC;
  if (*mode == 'a') flags |= O_CREAT | O_APPEND;
  int descriptor = opened(AT_FDCWD, path, flags, 0666);
  if (descriptor < 0) return NULL;
  cookie_io_functions_t functions = {stream_read, stream_write, stream_seek, stream_close};
  return fopencookie((void *)(intptr_t)descriptor, mode, functions);
}

FILE *fopen(const char *path, const char *mode) { return stream(path, mode, REAL(fopen)); }
FILE *fopen64(const char *path, const char *mode) { return stream(path, mode, REAL(fopen64)); }
