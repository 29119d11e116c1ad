/*
 * What every test of this directory shares.
 *
 * A test is a plain program that knows sockets and <linux/pgm.h>, and nothing of how PGM got into
 * them. Exit status: 0 passed, 77 cannot run here (the reason is printed), anything else failed.
 * Include this first. Environment, with defaults so that a test also runs by hand under LD_PRELOAD:
 *
 *   CHECK_PROTO   17 (PGM in UDP) or 113 (native)
 *   CHECK_GROUP   first group address of this test; group(n) adds n
 *   CHECK_PORT    first session port of this test; group(n) adds n
 */
#ifndef CHECK_H
#define CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/pgm.h>

#define HELPER static __attribute__((unused))

/* ---- verdicts ---- */

HELPER __attribute__((noreturn, format(printf, 3, 4))) void fail_at(const char *file, int line,
                                                                    const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    fflush(NULL);
    _exit(1);
}
#define FAIL(...) fail_at(__FILE__, __LINE__, __VA_ARGS__)

HELPER const char *errno_text(int error)
{
    const char *name = error == 0 ? "success" : strerrorname_np(error);
    return name != NULL ? name : "?";
}

/* Cannot run here. */
#define SKIP(...)            \
    do {                     \
        printf(__VA_ARGS__); \
        printf("\n");        \
        fflush(NULL);        \
        _exit(77);           \
    } while (0)

#define CHECK(cond)                                                                \
    do {                                                                           \
        if (!(cond))                                                               \
            FAIL("expected %s (errno %s)", #cond, errno_text(errno));              \
    } while (0)

/* Two integers are equal. */
#define EQUAL(actual, expected)                                                             \
    do {                                                                                    \
        long long equal_a = (long long)(actual), equal_e = (long long)(expected);           \
        if (equal_a != equal_e)                                                             \
            FAIL("%s is %lld, expected %s = %lld (errno %s)", #actual, equal_a, #expected,  \
                 equal_e, errno_text(errno));                                               \
    } while (0)

HELPER long ok_at(const char *file, int line, const char *text, long result)
{
    if (result == -1)
        fail_at(file, line, "%s failed: %s", text, errno_text(errno));
    return result;
}
/* A call that must not fail; its value. */
#define OK(call) ok_at(__FILE__, __LINE__, #call, (long)(call))

/* A call that must fail, with this errno. */
#define FAILS(call, error)                                                                 \
    do {                                                                                   \
        errno = 0;                                                                         \
        long long fails_r = (long long)(call);                                             \
        int fails_e = errno;                                                               \
        if (fails_r != -1)                                                                 \
            FAIL("%s returned %lld, expected %s", #call, fails_r, errno_text(error));      \
        if (fails_e != (error))                                                            \
            FAIL("%s failed with %s, expected %s", #call, errno_text(fails_e),             \
                 errno_text(error));                                                       \
    } while (0)

/* ---- time ---- */

HELPER void on_alarm(int signal)
{
    static const char text[] = "timed out\n";
    ssize_t ignored = write(2, text, sizeof(text) - 1);
    (void)ignored, (void)signal;
    _exit(1);
}

/* First line of main, and of every child: no test outlives this many seconds. */
HELPER void begin(unsigned seconds)
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = on_alarm;
    sigaction(SIGALRM, &action, NULL);
    /* Under a checker that runs a program many times slower. */
    const char *slower = getenv("CHECK_SLOWER");
    alarm(seconds * (slower != NULL ? (unsigned)atoi(slower) : 1));
    setvbuf(stdout, NULL, _IOLBF, 0);
    setenv("PGM_INTERFACE", "127.0.0.1", 0);
}

HELPER long long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

HELPER void sleep_ms(int ms)
{
    struct timespec t = {ms / 1000, (ms % 1000) * 1000000L};
    while (nanosleep(&t, &t) == -1 && errno == EINTR)
        continue;
}

/* ---- addresses and sockets ---- */

HELPER int protocol(void)
{
    const char *text = getenv("CHECK_PROTO");
    return text != NULL ? atoi(text) : IPPROTO_UDP;
}

HELPER struct sockaddr_in address(const char *ip, int port)
{
    struct sockaddr_in a;

    memset(&a, 0, sizeof(a));
    a.sin_family = AF_INET;
    a.sin_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, ip, &a.sin_addr) != 1)
        FAIL("bad address %s", ip);
    return a;
}

/* The n-th group and port of this test. */
HELPER struct sockaddr_in group(int n)
{
    const char *ip = getenv("CHECK_GROUP"), *port = getenv("CHECK_PORT");
    struct sockaddr_in a = address(ip != NULL ? ip : "239.192.0.1", (port ? atoi(port) : 7500) + n);

    a.sin_addr.s_addr = htonl(ntohl(a.sin_addr.s_addr) + (uint32_t)n);
    return a;
}

#define SA(a) ((struct sockaddr *)&(a))

HELPER int pgm_socket(int flags)
{
    return (int)OK(socket(AF_INET, SOCK_RDM | flags, protocol()));
}

/* A socket connected to group(n). */
HELPER int sender(int n)
{
    struct sockaddr_in a = group(n);
    int fd = pgm_socket(0);

    OK(connect(fd, SA(a), sizeof(a)));
    return fd;
}

/* A socket listening on group(n). */
HELPER int listener(int n)
{
    struct sockaddr_in a = group(n);
    int fd = pgm_socket(0);

    OK(bind(fd, SA(a), sizeof(a)));
    OK(listen(fd, 5));
    return fd;
}

/* What poll says within `ms` about `events`: revents, 0 when nothing came. */
HELPER int ready(int fd, int events, int ms)
{
    struct pollfd p = {fd, (short)events, 0};
    int n;

    do
        n = poll(&p, 1, ms);
    while (n == -1 && errno == EINTR);
    CHECK(n >= 0);
    return p.revents;
}

/* The next session of a listener. */
HELPER int session(int listening)
{
    if (!(ready(listening, POLLIN, 10000) & POLLIN))
        FAIL("no session within 10 s");
    return (int)OK(accept(listening, NULL, NULL));
}

/* ---- contents ---- */

/* Octet i of a message that begins with `seed`. */
HELPER unsigned char octet(uint32_t seed, size_t i)
{
    uint32_t x = seed * 2654435761u + (uint32_t)i * 40503u + (uint32_t)(i >> 16);
    return (unsigned char)(x >> 11 ^ x);
}

HELPER void fill(void *buffer, size_t size, uint32_t seed)
{
    unsigned char *p = buffer;
    for (size_t i = 0; i < size; i++)
        p[i] = octet(seed, i);
}

/* Whether the buffer holds octets `from`.. of the message of this seed. */
HELPER int matches(const void *buffer, size_t size, uint32_t seed, size_t from)
{
    const unsigned char *p = buffer;
    for (size_t i = 0; i < size; i++)
        if (p[i] != octet(seed, from + i))
            return 0;
    return 1;
}

HELPER void send_text(int fd, const char *text)
{
    EQUAL(send(fd, text, strlen(text), 0), strlen(text));
}

HELPER void expect_text_at(const char *file, int line, int fd, const char *text)
{
    char buffer[4096];
    ssize_t n = recv(fd, buffer, sizeof(buffer), 0);

    if (n == -1)
        fail_at(file, line, "recv failed: %s, expected \"%s\"", errno_text(errno), text);
    if ((size_t)n != strlen(text) || memcmp(buffer, text, (size_t)n) != 0)
        fail_at(file, line, "received %zd octets \"%.*s\", expected \"%s\"", n, (int)n, buffer, text);
}
/* The next message is this text. */
#define EXPECT_TEXT(fd, text) expect_text_at(__FILE__, __LINE__, fd, text)

/* ---- processes ---- */

/* Run `body(arg)` in a child that cannot outlive us; fork before the first PGM socket. */
HELPER pid_t child(unsigned seconds, void (*body)(void *), void *arg)
{
    pid_t parent = getpid(), pid = (pid_t)OK(fork());

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        begin(seconds);
        body(arg);
        exit(0);
    }
    return pid;
}

HELPER void child_passed_at(const char *file, int line, pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) == -1)
        if (errno != EINTR)
            fail_at(file, line, "waitpid: %s", errno_text(errno));
    if (WIFSIGNALED(status))
        fail_at(file, line, "child ended by signal %d", WTERMSIG(status));
    if (WEXITSTATUS(status) != 0)
        fail_at(file, line, "child ended with status %d", WEXITSTATUS(status));
}
/* Wait for a child, which must have passed. */
#define CHILD_PASSED(pid) child_passed_at(__FILE__, __LINE__, pid)

/* One octet through a pipe: "go on". */
HELPER void tell(int pipe_end)
{
    EQUAL(write(pipe_end, "x", 1), 1);
}
HELPER void hear(int pipe_end)
{
    char c;
    EQUAL(read(pipe_end, &c, 1), 1);
}

#endif
