/* getsockname and getpeername of every kind of socket. */
/* c-tests: variants=asan */
#include "check.h"

static struct sockaddr_in name(int fd, int (*call)(int, struct sockaddr *, socklen_t *))
{
    struct sockaddr_storage s;
    struct sockaddr_in in;
    socklen_t len = sizeof(s);

    memset(&s, 0xee, sizeof(s));
    OK(call(fd, SA(s), &len));
    EQUAL(len, sizeof(in));
    memcpy(&in, &s, sizeof(in));
    EQUAL(in.sin_family, AF_INET);
    return in;
}

static int local(int fd, struct sockaddr *a, socklen_t *len) { return getsockname(fd, a, len); }
static int peer(int fd, struct sockaddr *a, socklen_t *len) { return getpeername(fd, a, len); }

int main(void)
{
    struct sockaddr_in a = group(0), n;
    socklen_t len = sizeof(n);

    begin(20);
    int rx = listener(0);
    n = name(rx, local);
    EQUAL(n.sin_addr.s_addr, a.sin_addr.s_addr);
    EQUAL(n.sin_port, a.sin_port);
    FAILS(getpeername(rx, SA(n), &len), ENOTCONN);

    int tx = sender(0);
    n = name(tx, peer);
    EQUAL(n.sin_addr.s_addr, a.sin_addr.s_addr);
    EQUAL(n.sin_port, a.sin_port);
    struct sockaddr_in source = name(tx, local);
    EQUAL(source.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    CHECK(source.sin_port != 0);
    int other = sender(0);
    CHECK(name(other, local).sin_port != source.sin_port);

    send_text(tx, "x");
    int fd = session(rx);
    n = name(fd, peer);
    EQUAL(n.sin_addr.s_addr, source.sin_addr.s_addr);
    EQUAL(n.sin_port, source.sin_port);
    n = name(fd, local);
    EQUAL(n.sin_addr.s_addr, a.sin_addr.s_addr);
    EQUAL(n.sin_port, a.sin_port);
    return 0;
}
