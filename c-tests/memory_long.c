/*
 * Long messages on their way to the network are files, and have a quarter of PGM_MEMORY together. A sender whose own
 * messages fill it waits as for any buffer; one that others leave nothing to gets ENOBUFS; who sends short ones
 * notices nothing. Messages that wait for more (MSG_MORE) take twice their octets.
 */
/* c-tests: time=100 */
#include "check.h"

#include <setjmp.h>
#include <sys/epoll.h>

enum { LONG = 500000, PART = 100000, ROOM = 8000000, SENDERS = 20, MANY = 30 };

static char message[ROOM];

/* Messages that a sender takes, and what it says to the next. */
static int send_until_refused(int fd, int *error)
{
    int n = 0;

    while (send(fd, message, LONG, MSG_DONTWAIT) == LONG)
        n++;
    *error = errno;
    return n;
}

/* End it with all it has. */
static void drop(int fd)
{
    struct linger at_once = {1, 0};

    OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)));
    OK(close(fd));
}

static int writable(int fd)
{
    struct pollfd p = {fd, POLLOUT, 0};
    return (int)OK(poll(&p, 1, 0)) == 1 && p.revents == POLLOUT;
}

/* What is on its way stays there: these have next to no rate. */
static void all_together(void)
{
    int senders[SENDERS], total, error;
    long long start = now_ms();

    for (int i = 0; i < SENDERS; i++)
        senders[i] = sender(0);
    total = send_until_refused(senders[0], &error);
    EQUAL(error, EAGAIN);
    CHECK(!writable(senders[0]));
    for (int i = 1; i < SENDERS; i++) {
        total += send_until_refused(senders[i], &error);
        EQUAL(error, ENOBUFS);
        CHECK(writable(senders[i]));
        EQUAL(send(senders[i], message, PART, 0), PART);
    }
    long most = ROOM / LONG + (now_ms() - start) / 1000 + 2;
    if (total < ROOM / LONG || total > most)
        FAIL("%d messages were taken, expected %d to %ld", total, ROOM / LONG, most);

    /* Its own messages are in the way: it waits, as long as it may. */
    struct timeval limit = {0, 300000};
    OK(setsockopt(senders[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)));
    start = now_ms();
    FAILS(send(senders[0], message, ROOM, 0), EAGAIN);
    CHECK(now_ms() - start >= 290);
    /* Others': waiting would be for them. */
    FAILS(send(senders[1], message, ROOM, 0), ENOBUFS);
    FAILS(send(senders[1], message, ROOM + 1, 0), EMSGSIZE);

    /* An ended sender leaves nothing. */
    drop(senders[0]);
    start = now_ms();
    while (send(senders[1], message, LONG, 0) == -1) {
        EQUAL(errno, ENOBUFS);
        CHECK(now_ms() - start < 1000);
        sleep_ms(10);
    }
    for (int i = 1; i < SENDERS; i++)
        drop(senders[i]);
}

static volatile sig_atomic_t caught;

static void on_signal(int signal)
{
    caught = signal;
}

static void interrupted(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    int error, fd = sender(0);
    pid_t parent = getpid();

    OK(sigaction(SIGUSR1, &action, NULL));
    while (send_until_refused(fd, &error), error != EAGAIN) /* until what others had is gone */
        sleep_ms(10);
    pid_t child = (pid_t)OK(fork());
    if (child == 0) {
        sleep_ms(200);
        kill(parent, SIGUSR1);
        _exit(0);
    }
    FAILS(send(fd, message, ROOM, 0), EINTR);
    EQUAL(caught, SIGUSR1);
    EQUAL(OK(waitpid(child, NULL, 0)), child);
    drop(fd);
}

static void joined(void)
{
    int taken = 0, fd = sender(0);

    FAILS(send(fd, message, ROOM / 2 + 1, MSG_MORE), EMSGSIZE);
    for (long long refused = 0; refused == 0 || now_ms() - refused < 500;) { /* what others had goes meanwhile */
        if (send(fd, message, PART, MSG_MORE) == PART) {
            taken += PART;
            refused = 0;
            continue;
        }
        EQUAL(errno, ENOBUFS);
        refused = refused ? refused : now_ms();
        sleep_ms(10);
    }
    EQUAL(taken, ROOM / 2);
    EQUAL(send(fd, "end", 3, 0), 3);
    drop(fd);
}

/* A sender that takes more, but whose last message still fills what another leaves: it is told once when it is out. */
static void told_once(void)
{
    int times = 0, cork = sender(0), fd = sender(0), epoll = (int)OK(epoll_create1(0));
    struct epoll_event event = {.events = EPOLLOUT | EPOLLET};

    OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
    EQUAL(send(cork, message, ROOM / 2 - PART, MSG_MORE), ROOM / 2 - PART); /* twice, so there is twice a part */
    EQUAL(send(fd, message, PART * 3 / 2, MSG_DONTWAIT), PART * 3 / 2);
    while (send(fd, message, PART * 3 / 2, MSG_DONTWAIT) == -1) {
        EQUAL(errno, EAGAIN);
        CHECK(epoll_wait(epoll, &event, 1, 10000) == 1);
        times++;
    }
    printf("waited %d times for one message\n", times);
    CHECK(times >= 1 && times <= 3);
    OK(close(epoll));
    drop(fd);
    drop(cork);
}

static sigjmp_buf out;

static void jump(int signal)
{
    siglongjmp(out, signal);
}

/* What a handler jumped out of has no room any more when the thread sends again. */
static void jumped_out(void)
{
    struct sigaction action = {.sa_handler = jump};
    int error, fd = sender(0), other = sender(0);

    OK(sigaction(SIGUSR2, &action, NULL));
    pid_t parent = getpid(), child = (pid_t)OK(fork());
    if (child == 0) {
        for (;;) {
            sleep_ms(5);
            if (kill(parent, SIGUSR2) == -1)
                _exit(0);
        }
    }
    for (volatile int i = 0; i < 4 * ROOM / LONG; i++)
        while (sigsetjmp(out, 1) == 0) {
            while (send(fd, message, 1000, MSG_DONTWAIT) == 1000) /* short ones fill the pair, */
                continue;
            (void)!send(fd, message, LONG, 0); /* and this waits */
        }
    signal(SIGUSR2, SIG_IGN);
    OK(kill(child, SIGKILL));
    EQUAL(OK(waitpid(child, NULL, 0)), child);
    int taken = send_until_refused(other, &error);
    if (taken < ROOM / LONG - 1)
        FAIL("%d messages were taken, expected %d", taken, ROOM / LONG - 1);
    drop(fd);
    drop(other);
}

static int fast_sender(void)
{
    struct pgm_send_window window = {.rate_kbits_per_sec = 100000, .window_size_in_msecs = 1000};
    struct sockaddr_in address = group(1);
    int fd = pgm_socket(0);

    window.window_size_in_bytes = window.rate_kbits_per_sec / 8 * window.window_size_in_msecs;
    OK(setsockopt(fd, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &window, sizeof(window)));
    OK(connect(fd, SA(address), sizeof(address)));
    return fd;
}

/* All is sent, though the memory holds a fraction: blocking, ... */
static void waits(void)
{
    int fd = fast_sender();

    for (int i = 0; i < MANY; i++) {
        ssize_t n = send(fd, message, LONG, 0);
        if (n == -1 && errno == ENOBUFS) { /* as above */
            CHECK(i == 0);
            sleep_ms(10);
            i--;
            continue;
        }
        EQUAL(n, LONG);
    }
    OK(close(fd));
}

/* ... and told by epoll, once for each time that there is room. */
static void waits_for_edges(void)
{
    int times = 0, fd = fast_sender(), epoll = (int)OK(epoll_create1(0));
    struct epoll_event event = {.events = EPOLLOUT | EPOLLET};

    OK(fcntl(fd, F_SETFL, O_NONBLOCK));
    OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
    for (int sent = 0; sent < MANY;) {
        ssize_t n = send(fd, message, LONG, 0);
        if (n == LONG) {
            sent++;
        } else if (errno == ENOBUFS) {
            sleep_ms(10); /* the messages of `waits` are on their way */
        } else {
            EQUAL(errno, EAGAIN);
            CHECK(epoll_wait(epoll, &event, 1, 10000) == 1);
            times++;
        }
    }
    printf("waited %d times for %d messages\n", times, MANY);
    CHECK(times > 0 && times < MANY * 10);
    OK(close(fd));
}

int main(void)
{
    char text[32];

    begin(90);
    snprintf(text, sizeof(text), "%d", 4 * ROOM);
    setenv("PGM_MEMORY", text, 1);
    setenv("PGM_LINGER", "off", 1);
    setenv("PGM_RATE", "1M", 1);
    all_together();
    interrupted();
    joined();
    jumped_out();
    told_once();
    waits();
    waits_for_edges();
    return 0;
}
