/* The SOL_SOCKET and IPPROTO_IP options that ordinary programs set: they succeed and are remembered. */
/* c-tests: variants=asan,valgrind */
#include "check.h"
#include <net/if.h>

static void set_int(int fd, int level, int option, int value)
{
    OK(setsockopt(fd, level, option, &value, sizeof(value)));
}

static int get_int(int fd, int level, int option)
{
    int value = -1;
    socklen_t len = sizeof(value);
    OK(getsockopt(fd, level, option, &value, &len));
    return value;
}

int main(void)
{
    struct sockaddr_in a = group(0);
    struct ip_mreq join = {a.sin_addr, {htonl(INADDR_LOOPBACK)}};
    struct ip_mreqn joinn = {a.sin_addr, {htonl(INADDR_LOOPBACK)}, 0};
    struct linger linger = {0, 0};
    struct in_addr loopback = {htonl(INADDR_LOOPBACK)}, got;
    unsigned char small = 5;
    socklen_t len;

    begin(30);
    int rx = pgm_socket(0), tx = pgm_socket(0);
    set_int(rx, SOL_SOCKET, SO_REUSEADDR, 1);
    EQUAL(get_int(rx, SOL_SOCKET, SO_REUSEADDR) != 0, 1);
    set_int(rx, SOL_SOCKET, SO_REUSEPORT, 1);
    set_int(rx, SOL_SOCKET, SO_RCVBUF, 1 << 20);
    CHECK(get_int(rx, SOL_SOCKET, SO_RCVBUF) > 0);
    set_int(tx, SOL_SOCKET, SO_SNDBUF, 1 << 20);
    CHECK(get_int(tx, SOL_SOCKET, SO_SNDBUF) > 0);
    set_int(tx, SOL_SOCKET, SO_BROADCAST, 1);
    set_int(tx, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_int(tx, SOL_SOCKET, SO_PRIORITY, 3);
    OK(setsockopt(tx, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
    EQUAL(get_int(rx, SOL_SOCKET, SO_ERROR), 0);

    OK(setsockopt(rx, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof(join)));
    OK(setsockopt(rx, IPPROTO_IP, IP_DROP_MEMBERSHIP, &join, sizeof(join)));
    OK(setsockopt(rx, IPPROTO_IP, IP_ADD_MEMBERSHIP, &joinn, sizeof(joinn)));
    OK(setsockopt(tx, IPPROTO_IP, IP_MULTICAST_IF, &loopback, sizeof(loopback)));
    len = sizeof(got);
    OK(getsockopt(tx, IPPROTO_IP, IP_MULTICAST_IF, &got, &len));
    EQUAL(got.s_addr, loopback.s_addr);
    set_int(tx, IPPROTO_IP, IP_MULTICAST_TTL, 3);
    EQUAL(get_int(tx, IPPROTO_IP, IP_MULTICAST_TTL), 3);
    OK(setsockopt(tx, IPPROTO_IP, IP_MULTICAST_TTL, &small, 1));
    EQUAL(get_int(tx, IPPROTO_IP, IP_MULTICAST_TTL), 5);
    uint32_t ttl = 0;
    len = sizeof(ttl);
    OK(getsockopt(tx, IPPROTO_PGM, RM_SET_MCAST_TTL, &ttl, &len));
    EQUAL(ttl, 5);
    set_int(tx, IPPROTO_IP, IP_MULTICAST_LOOP, 1);
    EQUAL(get_int(tx, IPPROTO_IP, IP_MULTICAST_LOOP), 1);
    set_int(tx, IPPROTO_IP, IP_TOS, 0x20);
    EQUAL(get_int(tx, IPPROTO_IP, IP_TOS), 0x20);

    /* And the sockets still work. */
    OK(bind(rx, SA(a), sizeof(a)));
    OK(listen(rx, 5));
    OK(connect(tx, SA(a), sizeof(a)));
    send_text(tx, "configured");
    int fd = session(rx);
    set_int(fd, SOL_SOCKET, SO_RCVBUF, 1 << 20);
    set_int(fd, SOL_SOCKET, SO_RCVLOWAT, 1);
    EXPECT_TEXT(fd, "configured");
    return 0;
}
