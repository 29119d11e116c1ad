/*
 * siglongjmp and pthread_cancel out of sends and receives, with messages short and long: no descriptor and no memory is
 * left behind, and a message of several sends stays one.
 */
/* c-tests: time=60 */
#include "check.h"
#include <pthread.h>
#include <setjmp.h>

enum { LONG = 200000, TIMES = 60, PART = 50 };

static sigjmp_buf back;
static volatile sig_atomic_t armed;
static volatile long jumps;
static char message[LONG];

static void jump(int signal)
{
    (void)signal;
    if (armed) {
        armed = 0;
        jumps++;
        siglongjmp(back, 1);
    }
}

static int descriptors(void)
{
    int n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) != -1;
    return n;
}

/* A sender whose window is full. */
static int blocked_sender(int n)
{
    struct pgm_send_window window = {100, 0, 100000};
    struct sockaddr_in a = group(n);
    int fd = pgm_socket(0);

    OK(setsockopt(fd, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &window, sizeof(window)));
    OK(connect(fd, SA(a), sizeof(a)));
    while (send(fd, message, LONG, MSG_DONTWAIT) > 0)
        continue;
    EQUAL(errno, EAGAIN);
    return fd;
}

static void *send_forever(void *arg)
{
    for (;;)
        send(*(int *)arg, message, LONG, 0);
    return NULL;
}

static void blocked_sends(int fd)
{
    int before = descriptors();

    for (volatile int i = 0; i < TIMES; i++) {
        if (sigsetjmp(back, 1) != 0)
            continue;
        armed = 1;
        ualarm(5000, 0);
        /* Now and then there is room. */
        send(fd, message, LONG, 0);
        while (armed)
            pause();
    }
    CHECK(jumps >= TIMES);
    /* The last one's goes with the next. */
    CHECK(descriptors() <= before + 1);
    for (int i = 0; i < TIMES; i++) {
        pthread_t thread;
        EQUAL(pthread_create(&thread, NULL, send_forever, &fd), 0);
        sleep_ms(5);
        EQUAL(pthread_cancel(thread), 0);
        EQUAL(pthread_join(thread, NULL), 0);
    }
    CHECK(descriptors() <= before + 1);
}

/* Signals at any time, for as long as this lives. */
static pid_t shower(void)
{
    pid_t to = getpid(), pid = (pid_t)OK(fork());

    if (pid == 0) {
        unsigned random = 1;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
            random = random * 1103515245 + 12345;
            for (volatile unsigned i = 0; i < (random >> 16) % 20000; i++)
                continue;
            if (kill(to, SIGUSR1) != 0)
                _exit(0);
        }
    }
    return pid;
}

static void stop(pid_t pid)
{
    armed = 0;
    OK(kill(pid, SIGKILL));
    while (waitpid(pid, NULL, 0) == -1)
        EQUAL(errno, EINTR);
}

static int boundary(int fd, uint32_t size)
{
    return setsockopt(fd, IPPROTO_PGM, RM_SET_MESSAGE_BOUNDARY, &size, sizeof(size));
}

/* All parts have 50 octets, all messages 100. */
static void send_parts(void *arg)
{
    int fd = sender(*(int *)arg);
    pid_t pid = shower();
    long long end = now_ms() + 3000;

    while (now_ms() < end) {
        if (sigsetjmp(back, 1) != 0)
            continue;
        armed = 1;
        if (boundary(fd, 2 * PART) != 0)
            EQUAL(errno, EBUSY);
        send(fd, message, PART, 0);
        armed = 0;
    }
    stop(pid);
    CHECK(jumps > 50);
    if (boundary(fd, 0) != 0)
        EQUAL(send(fd, message, PART, 0), PART);
    OK(boundary(fd, 0));
}

/* Receives of long messages, out of which is jumped. */
static void receive_long(int fd)
{
    static char buffer[LONG];
    int before = descriptors();
    pid_t pid = shower();
    long long end = now_ms() + 3000;
    volatile long got = 0;

    jumps = 0;
    while (now_ms() < end) {
        if (sigsetjmp(back, 1) != 0)
            continue;
        armed = 1;
        ssize_t n = recv(fd, buffer, sizeof(buffer), MSG_PEEK);
        int waiting = 0;
        OK(ioctl(fd, FIONREAD, &waiting));
        armed = 0;
        EQUAL(n, LONG);
        EQUAL(waiting, LONG);
        got++;
    }
    stop(pid);
    CHECK(jumps > 50 && got > 50);
    EQUAL(descriptors(), before);
}

/* Messages read in parts, between which is jumped: parts may come again, but none is skipped or mixed with others. */
static void receive_parts(int tx, int fd)
{
    enum { SIZE = 1000, PIECE = 10 };
    static char all[SIZE], buffer[PIECE];
    pid_t pid = shower();
    long long end = now_ms() + 3000;
    volatile uint32_t number = 0;
    volatile size_t at = 0;
    volatile long whole = 0;

    jumps = 0;
    while (now_ms() < end) {
        number++;
        at = 0;
        fill(all, SIZE, number);
        EQUAL(send(tx, all, SIZE, 0), SIZE);
        while (at < SIZE) {
            size_t before = at;
            if (sigsetjmp(back, 1) != 0) {
                /* It had been read, or it had not; who jumps out of the last one may be shown all again. */
                int waiting = 0, rest = SIZE - (int)before;
                OK(ioctl(fd, FIONREAD, &waiting));
                if (before == 0 && waiting == 0)
                    continue; /* It had not come. */
                if (waiting != rest && waiting != rest - PIECE && !(rest == PIECE && waiting == SIZE))
                    FAIL("%d octets wait after a jump, of %d before", waiting, rest);
                at = SIZE - (size_t)waiting;
                continue;
            }
            armed = 1;
            ssize_t n = recv(fd, buffer, PIECE, 0);
            armed = 0;
            EQUAL(n, PIECE);
            CHECK(matches(buffer, PIECE, number, before));
            at = before + PIECE;
        }
        whole++;
    }
    stop(pid);
    CHECK(jumps > 50 && whole > 50);
}

int main(void)
{
    struct sigaction action = {.sa_handler = jump, .sa_flags = SA_NODEFER};
    struct linger abort = {1, 0};
    static char buffer[LONG + 1];
    int parts = 1, whole = 0, state;
    ssize_t len;

    begin(55);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    int blocked = blocked_sender(0);
    blocked_sends(blocked);
    OK(setsockopt(blocked, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort)));
    OK(close(blocked));

    int rx = listener(parts);
    pid_t pid = child(50, send_parts, &parts);
    int fd = session(rx);
    while ((len = OK(recv(fd, buffer, sizeof(buffer), 0))) > 0) {
        EQUAL(len, 2 * PART);
        whole++;
    }
    CHECK(whole > 50);
    CHILD_PASSED(pid);

    int tx = sender(parts);
    EQUAL(send(tx, message, LONG, 0), LONG);
    fd = session(rx);
    receive_long(fd);
    EQUAL(recv(fd, buffer, sizeof(buffer), 0), LONG);
    receive_parts(tx, fd);
    /* Nobody who jumped is left as one who cannot be cancelled. */
    EQUAL(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state), 0);
    EQUAL(state, PTHREAD_CANCEL_ENABLE);
    return 0;
}
