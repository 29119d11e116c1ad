/* epoll: level and edge triggered, oneshot, end of session, sender with a full window. */
#include "check.h"
#include <sys/epoll.h>

static void add(int ep, int fd, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.fd = fd};
    OK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
}

/* The next event within `ms`: what happened on `fd`, 0 for nothing. */
static uint32_t next(int ep, int fd, int ms)
{
    struct epoll_event e;
    int n = (int)OK(epoll_wait(ep, &e, 1, ms));

    if (n == 0)
        return 0;
    EQUAL(e.data.fd, fd);
    return e.events;
}

static void level(int rx, int tx, int ep)
{
    add(ep, rx, EPOLLIN);
    send_text(tx, "one");
    EQUAL(next(ep, rx, 5000), EPOLLIN);
    EQUAL(next(ep, rx, 0), EPOLLIN);
}

static void edge(int fd, int tx)
{
    char buffer[16];
    int ep = (int)OK(epoll_create1(EPOLL_CLOEXEC));

    add(ep, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    EQUAL(next(ep, fd, 5000), EPOLLIN);
    EQUAL(next(ep, fd, 200), 0); /* the same data gives no second edge */
    EXPECT_TEXT(fd, "one");
    FAILS(recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT), EAGAIN);
    for (int i = 0; i < 50; i++) {
        send_text(tx, "again");
        EQUAL(next(ep, fd, 5000), EPOLLIN);
        EXPECT_TEXT(fd, "again");
    }
    OK(close(ep));
}

static void oneshot(int fd, int tx)
{
    int ep = (int)OK(epoll_create1(0));
    struct epoll_event e = {.events = EPOLLIN | EPOLLONESHOT, .data.fd = fd};

    add(ep, fd, EPOLLIN | EPOLLONESHOT);
    send_text(tx, "a");
    EQUAL(next(ep, fd, 5000), EPOLLIN);
    EXPECT_TEXT(fd, "a");
    send_text(tx, "b");
    EQUAL(next(ep, fd, 300), 0);
    OK(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e));
    EQUAL(next(ep, fd, 5000), EPOLLIN);
    EXPECT_TEXT(fd, "b");
    OK(close(ep));
}

/* A full window takes writability away; time gives it back, with an edge. */
static void full(void)
{
    struct pgm_send_window window = {1000, 0, 100000};
    struct sockaddr_in a = group(1);
    char message[1400] = {0};
    int ep = (int)OK(epoll_create1(0)), tx = pgm_socket(SOCK_NONBLOCK);

    OK(setsockopt(tx, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &window, sizeof(window)));
    OK(connect(tx, SA(a), sizeof(a)));
    add(ep, tx, EPOLLIN | EPOLLOUT | EPOLLET);
    EQUAL(next(ep, tx, 5000), EPOLLOUT);
    for (int round = 0; round < 2; round++) {
        while (send(tx, message, sizeof(message), 0) == (ssize_t)sizeof(message))
            continue;
        EQUAL(errno, EAGAIN);
        EQUAL(next(ep, tx, 10000), EPOLLOUT);
    }
    OK(close(tx));
    OK(close(ep));
}

int main(void)
{
    char buffer[16];

    begin(60);
    setenv("PGM_LINGER", "off", 1); /* what is still queued at the end does not matter */
    int ep = (int)OK(epoll_create1(0)), rx = listener(0), tx = sender(0);
    level(rx, tx, ep);
    int fd = (int)OK(accept(rx, NULL, NULL));
    edge(fd, tx);
    oneshot(fd, tx);
    full();

    /* The end: readable and half closed, level and edge. */
    int last = (int)OK(epoll_create1(0));
    add(last, fd, EPOLLIN | EPOLLRDHUP | EPOLLET);
    OK(close(tx));
    EQUAL(next(last, fd, 10000) & (EPOLLIN | EPOLLRDHUP | EPOLLERR), EPOLLIN | EPOLLRDHUP);
    EQUAL(recv(fd, buffer, sizeof(buffer), 0), 0);
    EQUAL(next(ep, rx, 100), 0);
    return 0;
}
