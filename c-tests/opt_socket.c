/*
 * SOL_SOCKET, IPPROTO_IP and IPPROTO_TCP beyond ordinary_options.c: what a PGM socket says of itself, what
 * it remembers, what it refuses, and that none of it disturbs messages.
 */
#include "check.h"
#include <linux/filter.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

static int get(int fd, int level, int option)
{
    int value = -1;
    socklen_t len = sizeof(value);

    OK(getsockopt(fd, level, option, &value, &len));
    EQUAL(len, sizeof(value));
    return value;
}

static int set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value));
}

static void remembered(int fd, int level, int option, int initial, int value)
{
    EQUAL(get(fd, level, option), initial);
    OK(set(fd, level, option, value));
    EQUAL(get(fd, level, option), value);
}

static void kernel_options(int fd)
{
    struct sock_filter accept_all = {BPF_RET | BPF_K, 0, 0, 0xffff};
    struct sock_fprog filter = {1, &accept_all};
    uint64_t cookie = 0, other = 0;
    struct timeval timeout = {3, 0}, got;
    socklen_t len = sizeof(cookie);

    remembered(fd, SOL_SOCKET, SO_BROADCAST, 0, 1);
    remembered(fd, SOL_SOCKET, SO_KEEPALIVE, 0, 1);
    remembered(fd, SOL_SOCKET, SO_PRIORITY, 0, 4);
    remembered(fd, SOL_SOCKET, SO_RCVLOWAT, 1, 1);
    remembered(fd, SOL_SOCKET, SO_REUSEPORT, 0, 1);
    remembered(fd, SOL_SOCKET, SO_DONTROUTE, 0, 1);
    remembered(fd, SOL_SOCKET, SO_OOBINLINE, 0, 1);
    EQUAL(get(fd, SOL_SOCKET, SO_ERROR), 0);
    EQUAL(get(fd, SOL_SOCKET, SO_BUSY_POLL) >= 0, 1);
    get(fd, SOL_SOCKET, SO_INCOMING_CPU);
    OK(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len));
    EQUAL(len, sizeof(cookie));
    OK(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &other, &len));
    CHECK(cookie != 0 && cookie == other);
    OK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)));
    len = sizeof(got);
    OK(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &got, &len));
    EQUAL(got.tv_sec, 3);
    OK(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)));
    timeout.tv_usec = 1000000;
    FAILS(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)), EDOM);
    /* A filter would look at what is no packet. */
    FAILS(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)), ENOPROTOOPT);
    FAILS(set(fd, SOL_SOCKET, SO_PEEK_OFF, 0), ENOPROTOOPT);
    FAILS(set(fd, SOL_SOCKET, SO_PASSCRED, 1), ENOPROTOOPT);
    FAILS(set(fd, SOL_SOCKET, SO_TYPE, SOCK_DGRAM), ENOPROTOOPT);
    /* Time stamps exclude each other. */
    remembered(fd, SOL_SOCKET, SO_TIMESTAMP, 0, 1);
    remembered(fd, SOL_SOCKET, SO_TIMESTAMPNS, 0, 1);
    EQUAL(get(fd, SOL_SOCKET, SO_TIMESTAMP), 0);
    if (geteuid() != 0)
        FAILS(set(fd, SOL_SOCKET, SO_MARK, 7), EPERM);
}

static void ip_options(int fd)
{
    unsigned char octet = 0;
    socklen_t len = 1;

    remembered(fd, IPPROTO_IP, IP_TTL, 64, 9);
    FAILS(set(fd, IPPROTO_IP, IP_TTL, 256), EINVAL);
    EQUAL(get(fd, IPPROTO_IP, IP_TTL), 9);
    OK(getsockopt(fd, IPPROTO_IP, IP_TTL, &octet, &len));
    EQUAL(octet, 9);
    remembered(fd, IPPROTO_IP, IP_MULTICAST_ALL, 1, 0);
    remembered(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_WANT, IP_PMTUDISC_DO);
    FAILS(set(fd, IPPROTO_IP, IP_MTU_DISCOVER, 99), EINVAL);
    remembered(fd, IPPROTO_IP, IP_RECVERR, 0, 1);
    remembered(fd, IPPROTO_IP, IP_PKTINFO, 0, 1);
    remembered(fd, IPPROTO_IP, IP_RECVTTL, 0, 1);
    remembered(fd, IPPROTO_IP, IP_FREEBIND, 0, 1);
    octet = 200;
    OK(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &octet, 1));
    EQUAL(get(fd, IPPROTO_IP, IP_MULTICAST_TTL), 200);
    FAILS(set(fd, IPPROTO_IP, IP_MULTICAST_TTL, 256), EINVAL);
    OK(set(fd, IPPROTO_IP, IP_MULTICAST_TTL, -1));
    EQUAL(get(fd, IPPROTO_IP, IP_MULTICAST_TTL), 1);
    octet = 0;
    OK(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_LOOP, &octet, 1));
    EQUAL(get(fd, IPPROTO_IP, IP_MULTICAST_LOOP), 0);
    OK(set(fd, IPPROTO_IP, IP_MULTICAST_LOOP, 1));
    FAILS(set(fd, IPPROTO_IP, 4711, 1), ENOPROTOOPT);
}

static void other_levels(int fd)
{
    int value = 1;
    socklen_t len = sizeof(value);

    OK(set(fd, IPPROTO_TCP, TCP_NODELAY, 1));
    EQUAL(get(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    FAILS(set(fd, IPPROTO_TCP, TCP_CORK, 1), ENOPROTOOPT);
    FAILS(set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 1), ENOPROTOOPT);
    FAILS(getsockopt(fd, IPPROTO_TCP, TCP_CORK, &value, &len), EOPNOTSUPP);
    FAILS(set(fd, IPPROTO_UDP, UDP_CORK, 1), ENOPROTOOPT);
    FAILS(set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1), ENOPROTOOPT);
    FAILS(getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &value, &len), EOPNOTSUPP);
}

static void device(int fd)
{
    char name[IFNAMSIZ];
    struct in_addr addr;
    socklen_t len = sizeof(name);

    OK(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len));
    EQUAL(len, 0);
    FAILS(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "nosuch0", 7), ENODEV);
    OK(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2));
    len = sizeof(name);
    OK(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len));
    EQUAL(len, 3);
    EQUAL(strcmp(name, "lo"), 0);
    EQUAL(get(fd, SOL_SOCKET, SO_BINDTOIFINDEX), if_nametoindex("lo"));
    len = sizeof(addr);
    OK(getsockopt(fd, IPPROTO_PGM, RM_SET_SEND_IF, &addr, &len));
    EQUAL(ntohl(addr.s_addr), INADDR_LOOPBACK);
    OK(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "", 0));
    EQUAL(get(fd, SOL_SOCKET, SO_BINDTOIFINDEX), 0);
    OK(set(fd, SOL_SOCKET, SO_BINDTOIFINDEX, (int)if_nametoindex("lo")));
}

int main(void)
{
    struct sockaddr_in a = group(0), peer;
    static char message[300000], got[sizeof(message)];
    socklen_t len = sizeof(peer);

    begin(30);
    /* By the option alone. */
    setenv("PGM_INTERFACE", "198.51.100.77", 1);
    int rx = pgm_socket(0), tx = pgm_socket(0);
    for (int i = 0; i < 2; i++) {
        int fd = i == 0 ? rx : tx;

        EQUAL(get(fd, SOL_SOCKET, SO_DOMAIN), AF_INET);
        EQUAL(get(fd, SOL_SOCKET, SO_TYPE), SOCK_RDM);
        EQUAL(get(fd, SOL_SOCKET, SO_PROTOCOL), protocol());
        EQUAL(get(fd, SOL_SOCKET, SO_ACCEPTCONN), 0);
        kernel_options(fd);
        ip_options(fd);
        other_levels(fd);
        device(fd);
    }
    OK(bind(rx, SA(a), sizeof(a)));
    OK(listen(rx, 1));
    EQUAL(get(rx, SOL_SOCKET, SO_ACCEPTCONN), 1);
    OK(connect(tx, SA(a), sizeof(a)));
    OK(getsockopt(tx, SOL_SOCKET, SO_PEERNAME, &peer, &len));
    EQUAL(len, sizeof(peer));
    EQUAL(memcmp(&peer, &a, sizeof(a)), 0);

    /* A long message needs all the ancillary room there is; options must leave it alone. */
    fill(message, sizeof(message), 1);
    send_text(tx, "short");
    EQUAL(send(tx, message, sizeof(message), 0), sizeof(message));
    int fd = session(rx);
    OK(set(fd, SOL_SOCKET, SO_TIMESTAMP, 1));
    OK(set(fd, IPPROTO_IP, IP_PKTINFO, 1));
    EXPECT_TEXT(fd, "short");
    EQUAL(recv(fd, got, sizeof(got), 0), sizeof(got));
    CHECK(matches(got, sizeof(got), 1, 0));
    EQUAL(get(fd, SOL_SOCKET, SO_TYPE), SOCK_RDM);
    return 0;
}
