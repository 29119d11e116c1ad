/*
 * What the library costs a call on a descriptor that is no PGM socket: instructions, counted one by one.
 * Times would tell less: a dozen instructions without a lock or a system call are a nanosecond or two.
 */
#include "check.h"
#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/ptrace.h>

typedef long function(long, long, long, long, long, long, long);

/* Between counted child and counting parent. */
static struct {
    int on, call, native, status;
    long counted;
} volatile *shared;

static int ends[2], spare;
static char octet_of_data[1];
static struct iovec vector = {octet_of_data, 1};
static char control[64];
static struct mmsghdr elsewhere = {.msg_hdr = {.msg_iov = &vector, .msg_iovlen = 1}};
static struct mmsghdr with_control = {
    .msg_hdr = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)},
};
static int value;
static socklen_t value_len = sizeof(value);

/* Most added instructions: before the first PGM socket, and after. */
#define DATA {12, 12}
#define LONG {18, 18}       /* the seventh argument is on the stack */
#define DESCRIPTOR {22, 22} /* may be one of the library's own */
#define TWO {36, 36}
#define MADE {22, 32}       /* the number may have been that of a PGM socket closed behind the library's back */
#define GIVES {16, 24}      /* a PGM socket may go with the message */
#define BRINGS {24, 24}     /* one may have come with it */
#define MANY {44, 48}       /* and how many are with these */
#define LOOKED_AT {32, 32}  /* cannot be told before the call */

static const struct {
    const char *name, *what;
    long most[2];
    long arguments[7];
} calls[] = {
#define P(pointer) (long)(pointer)
#define FD 1000 /* stands for an end of a pair */
#define SPARE 1001 /* stands for one that may be closed */
#define STACK 1002 /* stands for a header on the stack, where most programs have it */
    {"accept", "", MADE, {FD}},
    {"accept4", "", MADE, {FD}},
    {"bind", "", DATA, {FD}},
    {"close", "", DESCRIPTOR, {SPARE}},
    {"connect", "", DATA, {FD}},
    {"dup", "", MADE, {FD}},
    {"dup2", "", TWO, {FD, SPARE}},
    {"dup3", "", TWO, {FD, SPARE}},
    {"fcntl", "", DESCRIPTOR, {FD, F_GETFL}},
    {"fcntl64", "", DESCRIPTOR, {FD, F_GETFL}},
    {"getpeername", "", DATA, {FD}},
    {"getsockname", "", DATA, {FD}},
    {"getsockopt", "", DATA, {FD, SOL_SOCKET, SO_TYPE, P(&value), P(&value_len)}},
    {"ioctl", "", DATA, {FD, FIONREAD, P(&value)}},
    {"listen", "", DATA, {FD, 1}},
    {"read", "", DATA, {FD, P(octet_of_data), 1}},
    {"__read_chk", "", DATA, {FD, P(octet_of_data), 1, 1}},
    {"readv", "", DATA, {FD, P(&vector), 1}},
    {"recv", "", DATA, {FD, P(octet_of_data), 1, 0}},
    {"__recv_chk", "", DATA, {FD, P(octet_of_data), 1, 1, 0}},
    {"recvfrom", "", DATA, {FD, P(octet_of_data), 1, 0, 0, 0}},
    {"__recvfrom_chk", "", LONG, {FD, P(octet_of_data), 1, 1, 0, 0, 0}},
    {"recvmmsg", "", MANY, {FD, STACK, 1, 0, 0}},
    {"recvmsg", "", BRINGS, {FD, STACK, 0}},
    {"recvmsg", "room for control", LOOKED_AT, {FD, P(&with_control), 0}},
    {"recvmsg", "header elsewhere", LOOKED_AT, {FD, P(&elsewhere), 0}},
    {"send", "", DATA, {FD, P(octet_of_data), 1, 0}},
    {"sendmmsg", "", MANY, {FD, STACK, 1, 0}},
    {"sendmsg", "", GIVES, {FD, STACK, 0}},
    {"sendmsg", "header elsewhere", LOOKED_AT, {FD, P(&elsewhere), 0}},
    {"sendto", "", DATA, {FD, P(octet_of_data), 1, 0, 0, 0}},
    {"setsockopt", "", DATA, {FD, SOL_SOCKET, SO_PRIORITY, P(&value), 4}},
    {"shutdown", "", DATA, {FD, 17}},
    {"socket", "", MADE, {AF_UNIX, SOCK_DGRAM, 0}},
    {"write", "", DATA, {FD, P(octet_of_data), 1}},
    {"writev", "", DATA, {FD, P(&vector), 1}},
};
#define CALLS (int)(sizeof(calls) / sizeof(calls[0]))

/* Make one call with the parent's attention on. */
static void call(function *f, const long *a)
{
    struct mmsghdr header = elsewhere;
    long b[7];

    for (int i = 0; i < 7; i++)
        b[i] = a[i] == FD ? ends[0] : a[i] == SPARE ? spare : a[i] == STACK ? P(&header) : a[i];
    shared->on = 1;
    f(b[0], b[1], b[2], b[3], b[4], b[5], b[6]);
    shared->on = 0;
}

static void counted(void)
{
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);

    CHECK(libc != NULL);
    for (int used = 0; used < 2; used++) {
        if (used)
            (void)listener(0), (void)sender(0);
        for (int i = 0; i < CALLS; i++) {
            for (int native = 1; native >= 0; native--) {
                function *f = (function *)dlsym(native ? libc : RTLD_DEFAULT, calls[i].name);
                CHECK(f != NULL);
                for (int turn = 0; turn < 2; turn++) { /* the first finds caches cold and symbols unbound */
                    OK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends));
                    spare = (int)OK(dup(ends[0]));
                    shared->call = i, shared->native = native, shared->status = used;
                    if (turn == 1)
                        raise(SIGSTOP);
                    call(f, calls[i].arguments);
                    if (turn == 1)
                        raise(SIGSTOP);
                    OK(close_range((unsigned)ends[0], (unsigned)ends[0] + 8, 0));
                }
            }
        }
    }
}

static int wait_for_stop(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) == -1)
        EQUAL(errno, EINTR);
    if (!WIFSTOPPED(status))
        return -1;
    return WSTOPSIG(status);
}

/* Run the child step by step to its next SIGSTOP: how many steps the call took. */
static long count(pid_t pid)
{
    long steps = 0;

    for (;;) {
        OK(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL));
        int signal = wait_for_stop(pid);
        if (signal == SIGSTOP)
            return steps;
        EQUAL(signal, SIGTRAP);
        steps += shared->on;
    }
}

int main(void)
{
    static long steps[2][CALLS][2];
    int status;

    begin(90);
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    pid_t pid = (pid_t)OK(fork());
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        begin(80);
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == -1)
            _exit(77);
        counted();
        _exit(0);
    }
    while (OK(waitpid(pid, &status, 0)), WIFSTOPPED(status)) {
        EQUAL(WSTOPSIG(status), SIGSTOP);
        steps[shared->status][shared->call][shared->native] = count(pid);
        OK(ptrace(PTRACE_CONT, pid, NULL, NULL));
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        SKIP("a process may not trace its child here");
    EQUAL(status, 0);
    for (int used = 0; used < 2; used++)
        for (int i = 0; i < CALLS; i++) {
            long plain = steps[used][i][1], added = steps[used][i][0] - plain;
            long most = calls[i].most[used];
            printf("%-15s %-17s %s %4ld + %ld\n", calls[i].name, calls[i].what, used ? "PGM used  " : "no PGM yet", plain, added);
            CHECK(plain > 5);
            if (added > most)
                FAIL("%s: %ld instructions added, %ld allowed", calls[i].name, added, most);
        }
    return 0;
}
