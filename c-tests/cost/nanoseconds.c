/*
 * Nanoseconds of a call on a descriptor that is no PGM socket: straight to libc, and through the library.
 * Rounds of both alternate; medians are printed. Run it under LD_PRELOAD.
 */
#include "check.h"
#include <dlfcn.h>

#define ROUNDS 401
#define CALLS 5000

typedef long function(long, long, long, long, long, long);

static char room[64];
static struct mmsghdr heap, heap_with_control = {.msg_hdr = {.msg_control = room, .msg_controllen = sizeof(room)}};

#define STACK 1 /* a header there, as most programs have it */
static const struct {
    const char *name, *what;
    long arguments[6];
} calls[] = {
#define P(pointer) (long)(pointer)
    {"accept", "", {-1}},
    {"close", "", {-1}},
    {"dup", "", {-1}},
    {"dup2", "", {-1, 999}},
    {"fcntl", "", {1, F_GETFD}},
    {"getsockopt", "", {-1}},
    {"read", "", {-1}},
    {"recv", "", {-1}},
    {"recvmmsg", "", {-1, STACK, 1}},
    {"recvmsg", "", {-1, STACK}},
    {"recvmsg", "header on the heap", {-1, P(&heap)}},
    {"recvmsg", "room for control", {-1, P(&heap_with_control)}},
    {"send", "", {-1}},
    {"sendmmsg", "", {-1, STACK, 1}},
    {"sendmsg", "", {-1, STACK}},
    {"sendmsg", "header on the heap", {-1, P(&heap)}},
    {"socket", "", {-1}},
    {"write", "", {-1}},
};

static double one_round(function *f, const long *a)
{
    struct timespec from, to;
    struct mmsghdr header = {.msg_len = 0};
    long second = a[1] == STACK ? P(&header) : a[1];

    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < CALLS; i++)
        f(a[0], second, a[2], a[3], a[4], a[5]);
    clock_gettime(CLOCK_MONOTONIC, &to);
    return ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) / CALLS;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof(*values), ascending);
    return values[ROUNDS / 2];
}

int main(int argc, char **argv)
{
    static double plain[ROUNDS], hooked[ROUNDS];
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);

    (void)argv;
    CHECK(libc != NULL);
    if (argc > 1)
        OK(listener(0)); /* what a process with PGM sockets pays */
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        const long *a = calls[i].arguments;
        function *to_libc = (function *)dlsym(libc, calls[i].name);
        function *to_hook = (function *)dlsym(RTLD_DEFAULT, calls[i].name);
        CHECK(to_libc != NULL && to_hook != NULL && to_libc != to_hook);
        for (int round = 0; round < ROUNDS; round++) {
            plain[round] = one_round(to_libc, a);
            hooked[round] = one_round(to_hook, a);
        }
        double base = median(plain);
        printf("%-12s %-20s %7.1f ns  %+5.1f ns\n", calls[i].name, calls[i].what, base, median(hooked) - base);
    }
    return 0;
}
