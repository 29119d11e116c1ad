/*
 * PGM_TPDU_SIZE bounds every packet of a sender, is what is in use after connect, and IP_MTU is the same
 * with headers. SO_MARK and SO_PRIORITY do not disturb.
 */
/* c-tests: proto=17 */
#include "check.h"

enum { SIZE = 300, MESSAGE = 20000 };

static uint32_t get(int fd, int level, int option)
{
    uint32_t value = 0;
    socklen_t len = sizeof(value);

    OK(getsockopt(fd, level, option, &value, &len));
    return value;
}

static void set(int fd, int level, int option, uint32_t value)
{
    OK(setsockopt(fd, level, option, &value, sizeof(value)));
}

int main(void)
{
    struct sockaddr_in a = group(0), to = a;
    struct ip_mreq request = {a.sin_addr, {htonl(INADDR_LOOPBACK)}};
    struct pgm_udp_encap ports;
    socklen_t len = sizeof(ports);
    static char message[MESSAGE], packet[65536], got[MESSAGE];
    uint32_t bad = 127;
    int packets = 0, largest = 0, on = 1, room = 4 << 20;

    begin(30);
    int rx = listener(0), tx = pgm_socket(0), seen = (int)OK(socket(AF_INET, SOCK_DGRAM, 0));
    OK(getsockopt(tx, IPPROTO_PGM, PGM_UDP_ENCAP, &ports, &len));
    to.sin_port = htons(ports.multicast);
    OK(setsockopt(seen, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
    OK(setsockopt(seen, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)));
    OK(bind(seen, SA(to), sizeof(to)));
    OK(setsockopt(seen, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof(request)));

    FAILS(setsockopt(tx, IPPROTO_PGM, PGM_TPDU_SIZE, &bad, sizeof(bad)), EINVAL);
    FAILS(getsockopt(tx, IPPROTO_IP, IP_MTU, &bad, &len), ENOTCONN);
    set(tx, IPPROTO_PGM, PGM_TPDU_SIZE, SIZE);
    set(tx, SOL_SOCKET, SO_PRIORITY, 3);
    EQUAL(get(tx, IPPROTO_PGM, PGM_TPDU_SIZE), SIZE);
    OK(connect(tx, SA(a), sizeof(a)));
    EQUAL(get(tx, IPPROTO_PGM, PGM_TPDU_SIZE), SIZE);
    EQUAL(get(tx, IPPROTO_IP, IP_MTU), SIZE + 8 + 20);
    EQUAL(get(tx, SOL_SOCKET, SO_PRIORITY), 3);

    fill(message, MESSAGE, 7);
    EQUAL(send(tx, message, MESSAGE, 0), MESSAGE);
    int fd = session(rx);
    EQUAL(recv(fd, got, MESSAGE, MSG_WAITALL), MESSAGE);
    CHECK(matches(got, MESSAGE, 7, 0));
    for (ssize_t n; (n = recv(seen, packet, sizeof(packet), MSG_DONTWAIT)) > 0; packets++)
        largest = n > largest ? (int)n : largest;
    EQUAL(largest, SIZE);
    CHECK(packets >= MESSAGE / SIZE);

    /* Without it: what the interface takes. */
    int other = sender(1);
    uint32_t size = get(other, IPPROTO_PGM, PGM_TPDU_SIZE);
    CHECK(size > 1000);
    EQUAL(get(other, IPPROTO_IP, IP_MTU), size + 8 + 20);
    return 0;
}
