/* Signals: EINTR or restart while waiting, and a handler that sends while its thread does the same. */
#include "check.h"
#include <pthread.h>
#include <sys/time.h>

static int tx;
static volatile sig_atomic_t by_handler;

static void nothing(int signal)
{
    (void)signal;
}

static void send_one(int signal)
{
    int saved = errno;

    (void)signal;
    if (send(tx, "h", 1, MSG_DONTWAIT) == 1)
        by_handler++;
    errno = saved;
}

static void handle(int signal, void (*handler)(int), int flags)
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = handler;
    action.sa_flags = flags;
    OK(sigaction(signal, &action, NULL));
}

static void every_ms(int ms)
{
    struct itimerval timer = {{0, ms * 1000}, {0, ms * 1000}};
    OK(setitimer(ITIMER_REAL, &timer, NULL));
}

static void *later(void *arg)
{
    sigset_t all;

    (void)arg;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    sleep_ms(300);
    send_text(tx, "late");
    return NULL;
}

int main(void)
{
    char buffer[100];
    pthread_t thread;

    begin(60);
    int rx = listener(0);
    tx = sender(0);
    send_text(tx, "first");
    int fd = session(rx);
    EXPECT_TEXT(fd, "first");

    handle(SIGALRM, nothing, 0);
    every_ms(50);
    FAILS(recv(fd, buffer, sizeof(buffer), 0), EINTR);
    FAILS(read(fd, buffer, sizeof(buffer)), EINTR);
    FAILS(accept(rx, NULL, NULL), EINTR);
    every_ms(0);
    handle(SIGALRM, nothing, SA_RESTART);
    EQUAL(pthread_create(&thread, NULL, later, NULL), 0);
    every_ms(20);
    EXPECT_TEXT(fd, "late");
    every_ms(0);
    pthread_join(thread, NULL);

    /* The handler interrupts send, setsockopt and recv of its own thread. */
    handle(SIGALRM, send_one, SA_RESTART);
    every_ms(1);
    int sent = 0, received = 0, handled = 0;
    uint32_t value = 1;
    for (long long start = now_ms(); now_ms() - start < 2000;) {
        if (send(tx, "main", 4, 0) == 4)
            sent++;
        OK(setsockopt(tx, IPPROTO_PGM, RM_HIGH_SPEED_INTRANET_OPT, &value, sizeof(value)));
        ssize_t n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
        if (n == 4)
            received++;
        else if (n == 1)
            handled++;
        else
            EQUAL(errno, EAGAIN);
    }
    every_ms(0);
    OK(shutdown(tx, SHUT_WR));
    for (ssize_t n; (n = recv(fd, buffer, sizeof(buffer), 0)) != 0;) {
        CHECK(n == 1 || n == 4);
        received += n == 4;
        handled += n == 1;
    }
    EQUAL(received, sent);
    EQUAL(handled, by_handler);
    CHECK(sent > 100 && by_handler > 100);
    return 0;
}
