/*
 * Encapsulation ports per socket: sockets of one process on different ports do not hear each other, each
 * works, and packets travel on the ports that were asked for. The same group and session port everywhere.
 */
/* c-tests: proto=17 */
#include "check.h"

static struct sockaddr_in a;

static int with_ports(uint16_t unicast, uint16_t multicast)
{
    struct pgm_udp_encap ports = {unicast, multicast}, got;
    socklen_t len = sizeof(got);
    int fd = pgm_socket(0);

    OK(setsockopt(fd, IPPROTO_PGM, PGM_UDP_ENCAP, &ports, sizeof(ports)));
    OK(getsockopt(fd, IPPROTO_PGM, PGM_UDP_ENCAP, &got, &len));
    EQUAL(len, sizeof(got));
    EQUAL(got.unicast, unicast);
    EQUAL(got.multicast, multicast);
    return fd;
}

static int receiver(uint16_t unicast, uint16_t multicast)
{
    int fd = with_ports(unicast, multicast);

    OK(bind(fd, SA(a), sizeof(a)));
    OK(listen(fd, 5));
    return fd;
}

static int transmitter(uint16_t unicast, uint16_t multicast)
{
    int fd = with_ports(unicast, multicast);

    OK(connect(fd, SA(a), sizeof(a)));
    return fd;
}

/* An ordinary socket that sees what comes to the group at a UDP port. */
static int observer(uint16_t port)
{
    struct sockaddr_in to = a;
    struct ip_mreq request = {a.sin_addr, {htonl(INADDR_LOOPBACK)}};
    int fd = (int)OK(socket(AF_INET, SOCK_DGRAM, 0)), on = 1;

    to.sin_port = htons(port);
    OK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
    OK(bind(fd, SA(to), sizeof(to)));
    OK(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof(request)));
    return fd;
}

int main(void)
{
    /* Ports by the process, so that tests beside this one have others. */
    uint16_t base = (uint16_t)(20000 + getpid() % 3000 * 4);
    struct pgm_udp_encap nothing = {0, base}, half = {base, 0};
    char packet[2000];

    begin(30);
    a = group(0);
    int fd = pgm_socket(0);
    FAILS(setsockopt(fd, IPPROTO_PGM, PGM_UDP_ENCAP, &nothing, sizeof(nothing)), EINVAL);
    FAILS(setsockopt(fd, IPPROTO_PGM, PGM_UDP_ENCAP, &half, sizeof(half)), EINVAL);

    int seen = observer((uint16_t)(base + 1)), unseen = observer((uint16_t)(base + 3));
    int rx1 = receiver(base, (uint16_t)(base + 1));
    int rx2 = receiver((uint16_t)(base + 2), (uint16_t)(base + 2));
    int tx1 = transmitter(base, (uint16_t)(base + 1));
    send_text(tx1, "first");
    int s1 = session(rx1);
    EXPECT_TEXT(s1, "first");
    int tx2 = transmitter((uint16_t)(base + 2), (uint16_t)(base + 2));
    send_text(tx2, "second");
    int s2 = session(rx2);
    EXPECT_TEXT(s2, "second");

    /* Neither has a session with the other's sender, and the end of one does not touch the other. */
    OK(close(tx1));
    EQUAL(recv(s1, packet, sizeof(packet), 0), 0);
    OK(close(s1));
    OK(close(rx1));
    send_text(tx2, "still here");
    EXPECT_TEXT(s2, "still here");
    EQUAL(ready(rx2, POLLIN, 300), 0);

    CHECK(recv(seen, packet, sizeof(packet), MSG_DONTWAIT) > 0);
    FAILS(recv(unseen, packet, sizeof(packet), MSG_DONTWAIT), EAGAIN);
    return 0;
}
