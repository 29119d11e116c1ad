/*
 * The table of readiness, row by row, as every way to wait tells it: poll, ppoll, select, pselect, and
 * epoll by level, by edge, once, exclusive, and through another epoll.
 */
/* c-tests: variants=fortify3 */
#include "check.h"
#include <sys/epoll.h>
#include <sys/select.h>

enum { ALL = POLLIN | POLLPRI | POLLOUT | POLLRDHUP };

static int by_poll(int fd)
{
    return ready(fd, ALL, 0);
}

static int by_ppoll(int fd)
{
    struct pollfd p = {fd, ALL, 0};
    struct timespec t = {0, 0};
    sigset_t none;

    sigemptyset(&none);
    OK(ppoll(&p, 1, &t, &none));
    return p.revents;
}

/* Of what epoll says once: its events are poll's. */
static int by_epoll(int fd, uint32_t how)
{
    int ep = (int)OK(epoll_create1(EPOLL_CLOEXEC));
    struct epoll_event e = {.events = (ALL & ~(how & EPOLLEXCLUSIVE ? POLLPRI | POLLRDHUP : 0)) | how};
    int n;

    OK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
    memset(&e, 0, sizeof(e));
    n = (int)OK(epoll_wait(ep, &e, 1, 0));
    if (how & (EPOLLET | EPOLLONESHOT) && n == 1) {
        struct epoll_event more;
        EQUAL(epoll_wait(ep, &more, 1, 0), 0); /* told once */
    } else if (n == 1) {
        EQUAL(epoll_wait(ep, &e, 1, 0), 1);
    }
    OK(close(ep));
    return n == 1 ? (int)e.events : 0;
}

/* Whether an epoll that watches it is readable itself. */
static int nested(int fd)
{
    int inner = (int)OK(epoll_create1(0)), outer = (int)OK(epoll_create1(0));
    struct epoll_event e = {.events = ALL}, got;

    OK(epoll_ctl(inner, EPOLL_CTL_ADD, fd, &e));
    e.events = EPOLLIN;
    OK(epoll_ctl(outer, EPOLL_CTL_ADD, inner, &e));
    int n = (int)OK(epoll_wait(outer, &got, 1, 0));
    EQUAL(ready(inner, POLLIN, 0), n ? POLLIN : 0);
    OK(close(outer));
    OK(close(inner));
    return n;
}

static void by_select(int fd, int expected, int with_mask)
{
    fd_set in, out, except;
    struct timeval t = {0, 0};
    struct timespec ts = {0, 0};

    FD_ZERO(&in);
    FD_SET(fd, &in);
    out = except = in;
    int n = (int)OK(with_mask ? pselect(fd + 1, &in, &out, &except, &ts, NULL)
                              : select(fd + 1, &in, &out, &except, &t));
    int readable = (expected & (POLLIN | POLLHUP | POLLERR)) != 0;
    int writable = (expected & (POLLOUT | POLLERR)) != 0;
    EQUAL(FD_ISSET(fd, &in) != 0, readable);
    EQUAL(FD_ISSET(fd, &out) != 0, writable);
    EQUAL(FD_ISSET(fd, &except) != 0, 0);
    EQUAL(n, readable + writable);
}

static void expect_at(int line, const char *state, int fd, int expected)
{
    const int plain = expected & ~(POLLPRI | POLLRDHUP);
    const struct {
        const char *how;
        int got, expected;
    } ways[] = {
        {"poll", by_poll(fd), expected},
        {"ppoll", by_ppoll(fd), expected},
        {"epoll", by_epoll(fd, 0), expected},
        {"epoll, edge", by_epoll(fd, EPOLLET), expected},
        {"epoll, once", by_epoll(fd, EPOLLONESHOT), expected},
        {"epoll, exclusive", by_epoll(fd, EPOLLEXCLUSIVE), plain},
        {"epoll, nested", nested(fd), expected != 0},
    };

    for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++)
        if (ways[i].got != ways[i].expected)
            FAIL("line %d: %s: %s says %#x, expected %#x", line, state, ways[i].how,
                 (unsigned)ways[i].got, (unsigned)ways[i].expected);
    by_select(fd, expected, 0);
    by_select(fd, expected, 1);
}
#define EXPECT(state, fd, expected) expect_at(__LINE__, state, fd, expected)

/* Wait until poll says exactly this. */
static void until(int fd, int expected)
{
    long long start = now_ms();

    while (ready(fd, ALL, 0) != expected) {
        if (now_ms() - start > 20000)
            FAIL("poll says %#x after 20 s, expected %#x", (unsigned)ready(fd, ALL, 0),
                 (unsigned)expected);
        sleep_ms(2);
    }
}

/* A full window takes writability away; time gives it back. */
static void full_window(void)
{
    struct pgm_send_window window = {1000, 0, 100000};
    struct sockaddr_in a = group(1);
    static char message[1400];
    int tx = pgm_socket(SOCK_NONBLOCK);

    OK(setsockopt(tx, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &window, sizeof(window)));
    OK(connect(tx, SA(a), sizeof(a)));
    EXPECT("sender", tx, POLLOUT);
    do {
        while (send(tx, message, sizeof(message), 0) == (ssize_t)sizeof(message))
            continue;
        EQUAL(errno, EAGAIN);
    } while (ready(tx, ALL, 0) != 0);
    /* Half a second of data waits in the pair: none of this takes that long. */
    EXPECT("sender, window full", tx, 0);
    until(tx, POLLOUT);
    EXPECT("sender, window open again", tx, POLLOUT);
    OK(close(tx));
}

/* A session whose source has lost what it still needs. */
static int reset_session(void)
{
    struct pgm_send_window window = {800000, 0, 100000};
    struct sockaddr_in a = group(2);
    static char message[1400];
    int rx = listener(2), tx = pgm_socket(0);

    OK(setsockopt(tx, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &window, sizeof(window)));
    OK(connect(tx, SA(a), sizeof(a)));
    send_text(tx, "first");
    int fd = session(rx);
    EXPECT_TEXT(fd, "first");
    /* More than session and window can hold while nobody reads. */
    for (int i = 0; i < 60000; i++)
        EQUAL(send(tx, message, sizeof(message), 0), sizeof(message));
    OK(close(tx));
    OK(close(rx));
    return fd;
}

static void end_by_loss(void)
{
    static char message[1400];
    int fd = reset_session(), error = -1, messages = 0;
    socklen_t len = sizeof(error);

    /* All that came before the loss is read first. */
    EXPECT("session, more to read", fd, POLLIN);
    while (!(ready(fd, POLLIN, 20000) & POLLERR)) {
        ssize_t n = recv(fd, message, sizeof(message), MSG_DONTWAIT);
        if (n == -1)
            EQUAL(errno, EAGAIN);
        else if (n == 0)
            FAIL("graceful end after %d messages", messages);
        messages += n > 0;
    }
    printf("lost after %d messages\n", messages);
    EXPECT("session, loss", fd, POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR);
    OK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len));
    EQUAL(error, ECONNRESET);
    OK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len));
    EQUAL(error, 0);
    for (int i = 0; i < 3; i++)
        EQUAL(recv(fd, message, sizeof(message), 0), 0);
    EXPECT("session, loss told", fd, POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
    OK(close(fd));
}

int main(void)
{
    char buffer[16];

    begin(90);
    setenv("PGM_LINGER", "off", 1); /* what is still queued at the end does not matter */
    int fd = pgm_socket(0);
    EXPECT("fresh", fd, POLLOUT);
    OK(close(fd));
    int rx = listener(0), tx = sender(0);
    EXPECT("listener", rx, 0);
    EXPECT("sender", tx, POLLOUT);
    send_text(tx, "one");
    until(rx, POLLIN);
    EXPECT("listener, session waits", rx, POLLIN);
    fd = session(rx);
    EXPECT("listener, accepted", rx, 0);
    until(fd, POLLIN);
    EXPECT("session, data", fd, POLLIN);
    EQUAL(recv(fd, buffer, 1, 0), 1);
    EXPECT("session, part read", fd, POLLIN);
    EQUAL(recv(fd, buffer, 5, MSG_PEEK), 2);
    EXPECT("session, peeked", fd, POLLIN);
    EXPECT_TEXT(fd, "ne");
    EXPECT("session, drained", fd, 0);

    /* The end: half closed at once, readable for ever; data that came before it first. */
    send_text(tx, "last");
    OK(shutdown(tx, SHUT_WR));
    EXPECT("sender after SHUT_WR", tx, POLLOUT);
    until(fd, POLLIN | POLLRDHUP);
    EXPECT("session, data and end", fd, POLLIN | POLLRDHUP);
    EXPECT_TEXT(fd, "last");
    for (int i = 0; i < 3; i++) {
        EXPECT("session, end", fd, POLLIN | POLLRDHUP);
        EQUAL(recv(fd, buffer, sizeof(buffer), 0), 0);
    }
    OK(close(tx));
    OK(close(fd));

    tx = sender(0);
    send_text(tx, "x");
    fd = session(rx);
    EXPECT_TEXT(fd, "x");
    OK(shutdown(fd, SHUT_RD));
    EXPECT("session after SHUT_RD", fd, POLLIN | POLLRDHUP);
    OK(shutdown(rx, SHUT_RD));
    EXPECT("listener after SHUT_RD", rx, POLLIN | POLLRDHUP);
    full_window();
    end_by_loss();
    return 0;
}
