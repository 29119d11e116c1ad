/* EINTR without SA_RESTART and none with it: in recv, accept and send; siglongjmp out of any of them. */
/* c-tests: variants=fortify2 */
#include "check.h"
#include <pthread.h>
#include <setjmp.h>
#include <sys/time.h>

static int rx, tx;
static volatile sig_atomic_t handled;
static sigjmp_buf again;

static void count(int signal)
{
    (void)signal;
    handled++;
}

static void jump(int signal)
{
    (void)signal;
    siglongjmp(again, 1);
}

static void handle(void (*handler)(int), int flags)
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = handler;
    action.sa_flags = flags;
    OK(sigaction(SIGUSR1, &action, NULL));
}

/* ---- a thread that sends us SIGUSR1 until it is told to stop, and then does something ---- */

static pthread_t main_thread, pest_thread;
static volatile int pestering, every_us;
static void (*afterwards)(void);

static void *pest(void *arg)
{
    (void)arg;
    for (int i = 0; pestering && i < 100000; i++) {
        usleep((useconds_t)every_us);
        if (pestering)
            pthread_kill(main_thread, SIGUSR1);
        /* Ten signals have restarted the call: now let it come to something. */
        if (afterwards != NULL && handled >= 10) {
            afterwards();
            afterwards = NULL;
        }
    }
    return NULL;
}

static void start(int us, void (*after)(void))
{
    handled = 0;
    every_us = us;
    afterwards = after;
    pestering = 1;
    EQUAL(pthread_create(&pest_thread, NULL, pest, NULL), 0);
}

static void stop(void)
{
    pestering = 0;
    EQUAL(pthread_join(pest_thread, NULL), 0);
}

static void send_late(void)
{
    send_text(tx, "late");
}

static int other;
static void connect_late(void)
{
    other = sender(0);
    send_text(other, "other");
}

/* A sender whose next send blocks. */
static int full_sender(int n, uint32_t kbits)
{
    struct pgm_send_window window = {kbits, 0, 100000};
    struct sockaddr_in a = group(n);
    static char message[1400];
    int fd = pgm_socket(0);

    OK(setsockopt(fd, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &window, sizeof(window)));
    OK(connect(fd, SA(a), sizeof(a)));
    while (send(fd, message, sizeof(message), MSG_DONTWAIT) > 0)
        continue;
    EQUAL(errno, EAGAIN);
    return fd;
}

static void interrupted(int fd)
{
    static char message[100000];
    char buffer[16];
    struct iovec part = {buffer, sizeof(buffer)};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

    int full = full_sender(1, 100);
    handle(count, 0);
    start(5000, NULL);
    for (int i = 0; i < 5; i++) {
        FAILS(recv(fd, buffer, sizeof(buffer), 0), EINTR);
        FAILS(recvmsg(fd, &header, 0), EINTR);
        FAILS(read(fd, buffer, sizeof(buffer)), EINTR);
        FAILS(accept(rx, NULL, NULL), EINTR);
        FAILS(accept4(rx, NULL, NULL, SOCK_CLOEXEC), EINTR);
    }
    stop();
    /* A long one, that a slow source has no room for. */
    start(20000, NULL);
    ssize_t n;
    do
        n = send(full, message, sizeof(message), 0);
    while (n == sizeof(message));
    EQUAL(n, -1);
    EQUAL(errno, EINTR);
    stop();
    OK(close(full));
}

static void restarted(int fd)
{
    char buffer[16];
    struct timeval t = {0, 300000};

    handle(count, SA_RESTART);
    start(3000, send_late);
    EXPECT_TEXT(fd, "late");
    stop();
    start(3000, connect_late);
    int accepted = (int)OK(accept(rx, NULL, NULL));
    stop();
    EXPECT_TEXT(accepted, "other");
    OK(close(accepted));
    OK(close(other));

    /* With a timeout the kernel restarts nothing: EINTR whatever SA_RESTART says. */
    OK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)));
    start(3000, NULL);
    FAILS(recv(fd, buffer, sizeof(buffer), 0), EINTR);
    stop();
    t.tv_usec = 0;
    OK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)));

    /* A send that waits for the window goes on after signals: 2 Mbit/s give room soon. */
    static char message[1400];
    int full = full_sender(2, 2000);
    start(1000, NULL);
    for (int i = 0; i < 50; i++)
        EQUAL(send(full, message, sizeof(message), 0), sizeof(message));
    stop();
    OK(close(full));
}

/* The old way to bound a call's time: the handler jumps out of it, wherever it is. */
static void jumped(int fd)
{
    static volatile int jumps, sent, received;
    static volatile long long end;
    char buffer[16];
    sigset_t usr1;

    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    jumps = sent = received = 0;
    end = now_ms() + 3000;
    handle(jump, SA_RESTART);
    /* No signal before there is something to jump to. */
    OK(pthread_sigmask(SIG_BLOCK, &usr1, NULL));
    start(200, NULL);
    while (now_ms() < end) {
        if (sigsetjmp(again, 1) != 0) {
            jumps++;
            continue;
        }
        pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
        if (send(tx, "x", 1, MSG_DONTWAIT) == 1)
            sent++;
        /* One that is there, and one that does not come. */
        ssize_t n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
        if (n != -1)
            received++;
        n = recv(fd, buffer, sizeof(buffer), MSG_PEEK | (received % 2 ? 0 : MSG_DONTWAIT));
        if (n == -1)
            EQUAL(errno, EAGAIN);
    }
    /* The last jump may come from inside `stop`. */
    EQUAL(pthread_sigmask(SIG_BLOCK, &usr1, NULL), 0);
    handle(SIG_IGN, 0);
    EQUAL(pthread_sigmask(SIG_UNBLOCK, &usr1, NULL), 0);
    stop();
    printf("%d jumps, %d sent, %d received\n", jumps, sent, received);
    CHECK(jumps > 100);

    /* Everything still works, and waits where it should. */
    EQUAL(send(tx, "last one", 8, 0), 8);
    ssize_t n;
    do {
        n = recv(fd, buffer, sizeof(buffer), 0);
        if (n == -1)
            FAIL("recv after the jumps: %s", errno_text(errno));
    } while (n == 1);
    EQUAL(n, 8);
    FAILS(recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT), EAGAIN);
    struct pgm_receiver_stats stats;
    socklen_t len = sizeof(stats);
    OK(getsockopt(fd, IPPROTO_PGM, RM_RECEIVER_STATISTICS, &stats, &len));
    /* A thread that was inside can still be cancelled. */
    int state;
    EQUAL(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state), 0);
    EQUAL(state, PTHREAD_CANCEL_ENABLE);
}

int main(void)
{
    begin(60);
    setenv("PGM_LINGER", "off", 1); /* what is still queued at the end does not matter */
    main_thread = pthread_self();
    rx = listener(0);
    tx = sender(0);
    send_text(tx, "first");
    int fd = session(rx);
    EXPECT_TEXT(fd, "first");
    interrupted(fd);
    restarted(fd);
    jumped(fd);
    return 0;
}
