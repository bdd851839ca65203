/*
 * The wall clock of a program, moved ahead: `LD_PRELOAD=ahead.so CLOCK_AHEAD=34560000 PROGRAM`.
 *
 * The whole suite runs under it once (.ci/run --all), so that no test holds only until a date. Real time is shifted
 * wherever a program meets it: the clock itself and the times of files, in both directions. Monotonic time, and
 * with it every wait, stays as it is. Debian's faketime does not know statx(2), which Rust uses.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

static time_t ahead(void)
{
    static time_t known = -1;
    if (known < 0) {
        const char *text = getenv("CLOCK_AHEAD");
        known = text ? (time_t)strtoll(text, NULL, 10) : 0;
    }
    return known;
}

#define NEXT(name) \
    static __typeof__(name) *next; \
    if (!next) next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static int is_real(clockid_t clock)
{
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    NEXT(clock_gettime);
    int result = next(clock, now);
    if (result == 0 && is_real(clock)) now->tv_sec += ahead();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    NEXT(gettimeofday);
    int result = next(now, zone);
    if (result == 0) now->tv_sec += ahead();
    return result;
}

time_t time(time_t *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}

/* Times of files as they are read. */

static int shifted(int result, struct stat *found)
{
    if (result == 0) {
        found->st_atim.tv_sec += ahead();
        found->st_mtim.tv_sec += ahead();
        found->st_ctim.tv_sec += ahead();
    }
    return result;
}

int stat(const char *restrict path, struct stat *restrict found) { NEXT(stat); return shifted(next(path, found), found); }
int lstat(const char *restrict path, struct stat *restrict found) { NEXT(lstat); return shifted(next(path, found), found); }
int fstat(int file, struct stat *found) { NEXT(fstat); return shifted(next(file, found), found); }
int fstatat(int dir, const char *restrict path, struct stat *restrict found, int flags)
{
    NEXT(fstatat);
    return shifted(next(dir, path, found, flags), found);
}

/* The same under the names for large files, where `struct stat64` is the same struct. */
int stat64(const char *restrict path, struct stat64 *restrict found) { return stat(path, (struct stat *)found); }
int lstat64(const char *restrict path, struct stat64 *restrict found) { return lstat(path, (struct stat *)found); }
int fstat64(int file, struct stat64 *found) { return fstat(file, (struct stat *)found); }
int fstatat64(int dir, const char *restrict path, struct stat64 *restrict found, int flags)
{
    return fstatat(dir, path, (struct stat *)found, flags);
}

int statx(int dir, const char *restrict path, int flags, unsigned mask, struct statx *restrict found)
{
    NEXT(statx);
    int result = next(dir, path, flags, mask, found);
    if (result == 0) {
        found->stx_atime.tv_sec += ahead();
        found->stx_mtime.tv_sec += ahead();
        found->stx_ctime.tv_sec += ahead();
        found->stx_btime.tv_sec += ahead();
    }
    return result;
}

/* Times of files as they are set; none given, or UTIME_NOW, is the kernel's own clock, which reading shifts. */

static const struct timespec *back(const struct timespec times[2], struct timespec room[2])
{
    if (!times) return NULL;
    for (int i = 0; i < 2; i++) {
        room[i] = times[i];
        if (room[i].tv_nsec != UTIME_NOW && room[i].tv_nsec != UTIME_OMIT) room[i].tv_sec -= ahead();
    }
    return room;
}

int utimensat(int dir, const char *path, const struct timespec times[2], int flags)
{
    struct timespec room[2];
    NEXT(utimensat);
    return next(dir, path, back(times, room), flags);
}

int futimens(int file, const struct timespec times[2])
{
    struct timespec room[2];
    NEXT(futimens);
    return next(file, back(times, room));
}
