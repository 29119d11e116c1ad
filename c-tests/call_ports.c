/* Port 0 is a session port as others are; a sender's own port is the one it bound, if it bound one. */
#include "check.h"

static struct sockaddr_in name(int fd, int (*call)(int, struct sockaddr *, socklen_t *))
{
    struct sockaddr_in a;
    socklen_t len = sizeof(a);

    OK(call(fd, SA(a), &len));
    EQUAL(len, sizeof(a));
    return a;
}

static int own(int fd, struct sockaddr *a, socklen_t *len) { return getsockname(fd, a, len); }
static int peer(int fd, struct sockaddr *a, socklen_t *len) { return getpeername(fd, a, len); }

static struct sockaddr_in on_port(struct sockaddr_in a, int port)
{
    a.sin_port = htons((uint16_t)port);
    return a;
}

/* Port 0 on both sides: found, and not mixed up with another port of the group. */
static void zero(void)
{
    struct sockaddr_in a = on_port(group(0), 0), b = group(0);
    int rx = pgm_socket(0), tx = pgm_socket(0), other = pgm_socket(0);

    OK(bind(rx, SA(a), sizeof(a)));
    OK(listen(rx, 5));
    EQUAL(name(rx, own).sin_port, 0);
    EQUAL(name(rx, own).sin_addr.s_addr, a.sin_addr.s_addr);
    OK(connect(other, SA(b), sizeof(b)));
    send_text(other, "another port");
    OK(connect(tx, SA(a), sizeof(a)));
    EQUAL(name(tx, peer).sin_port, 0);
    CHECK(name(tx, own).sin_port != 0);
    send_text(tx, "port 0");
    int fd = session(rx);
    EXPECT_TEXT(fd, "port 0");
    EQUAL(name(fd, own).sin_port, 0);
    EQUAL(ready(rx, POLLIN, 200), 0);
    OK(close(fd));
    OK(close(rx));
    OK(close(tx));
    OK(close(other));
}

/* A sender with this port of its own. */
static int bound_sender(const char *ip, int port)
{
    struct sockaddr_in local = address(ip, port), a = group(1);
    int fd = pgm_socket(0);

    OK(bind(fd, SA(local), sizeof(local)));
    EQUAL(name(fd, own).sin_port, htons((uint16_t)port));
    EQUAL(name(fd, own).sin_addr.s_addr, local.sin_addr.s_addr);
    OK(connect(fd, SA(a), sizeof(a)));
    EQUAL(name(fd, own).sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    return fd;
}

int main(void)
{
    static const char *const addresses[] = {"0.0.0.0", "127.0.0.1"};
    struct sockaddr_in local = address("0.0.0.0", 25000), a = group(1);

    begin(40);
    zero();
    int rx = listener(1);
    for (int i = 0; i < 2; i++) {
        int tx = bound_sender(addresses[i], 25000);
        EQUAL(name(tx, own).sin_port, htons(25000));
        send_text(tx, "hello");
        int fd = session(rx);
        EQUAL(name(fd, peer).sin_port, htons(25000));
        EXPECT_TEXT(fd, "hello");

        /* The port is taken, whatever the address; others are not, and neither is a group's. */
        int second = pgm_socket(0);
        FAILS(bind(second, SA(local), sizeof(local)), EADDRINUSE);
        local = address("127.0.0.1", 25000);
        FAILS(bind(second, SA(local), sizeof(local)), EADDRINUSE);
        local.sin_port = htons(25001);
        OK(bind(second, SA(local), sizeof(local)));
        OK(close(second));
        /* Who asks to share it may. */
        second = pgm_socket(0);
        int on = 1;
        OK(setsockopt(second, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
        local.sin_port = htons(25000);
        OK(bind(second, SA(local), sizeof(local)));
        OK(connect(second, SA(a), sizeof(a)));
        OK(close(second));
        second = pgm_socket(0);
        local = on_port(group(2), 25000);
        OK(bind(second, SA(local), sizeof(local)));
        OK(close(second));
        local = address("0.0.0.0", 25000);

        /* Free as soon as it is closed, though its repairs go on: the next session is another one. */
        OK(close(tx));
        tx = bound_sender(addresses[i], 25000);
        EQUAL(name(tx, own).sin_port, htons(25000));
        send_text(tx, "again");
        int next = session(rx);
        EQUAL(name(next, peer).sin_port, htons(25000));
        EXPECT_TEXT(next, "again");
        char octet_there;
        EQUAL(recv(fd, &octet_there, 1, 0), 0);
        OK(close(tx));
        EQUAL(recv(next, &octet_there, 1, 0), 0);
        OK(close(fd));
        OK(close(next));
    }
    /* Bound and closed without ever sending. */
    int fd = pgm_socket(0);
    local = address("0.0.0.0", 25000);
    OK(bind(fd, SA(local), sizeof(local)));
    OK(close(fd));
    fd = pgm_socket(0);
    OK(bind(fd, SA(local), sizeof(local)));
    OK(connect(fd, SA(a), sizeof(a)));
    return 0;
}
