/*
 * PGM_CONGESTION_CONTROL: read back, refused where it means nothing, and with it on everything arrives,
 * through loss, at a receiver that does not know of it. Packets do not say that ECN is understood (C-13),
 * whatever the program asks.
 */
/* c-tests: time=110 */
#include "check.h"

enum { MESSAGES = 1500, SIZE = 1000, ODATA = 4, OPT_PGMCC_DATA = 0x12, ECN = 3 };

static uint32_t get(int fd)
{
    uint32_t value = 99;
    socklen_t len = sizeof(value);

    OK(getsockopt(fd, IPPROTO_PGM, PGM_CONGESTION_CONTROL, &value, &len));
    EQUAL(len, sizeof(value));
    return value;
}

static int set(int fd, uint32_t value)
{
    return setsockopt(fd, IPPROTO_PGM, PGM_CONGESTION_CONTROL, &value, sizeof(value));
}

static void values(void *arg)
{
    struct sockaddr_in a = group(5);
    int fd = pgm_socket(0), rx = listener(4);

    (void)arg;
    EQUAL(get(fd), PGM_CC_OFF);
    OK(set(fd, PGM_CC_PGMCC));
    EQUAL(get(fd), PGM_CC_PGMCC);
    FAILS(set(fd, 2), EINVAL);
    FAILS(set(fd, UINT32_MAX), EINVAL);
    EQUAL(get(fd), PGM_CC_PGMCC);
    OK(set(fd, PGM_CC_OFF));
    EQUAL(get(fd), PGM_CC_OFF);
    OK(set(fd, PGM_CC_PGMCC));
    OK(connect(fd, SA(a), sizeof(a)));
    EQUAL(get(fd), PGM_CC_PGMCC);
    FAILS(set(fd, PGM_CC_OFF), EISCONN);
    FAILS(set(rx, PGM_CC_PGMCC), EINVAL);
}

static void from_environment(void *arg)
{
    int fd;

    (void)arg;
    OK(setenv("PGM_CONGESTION_CONTROL", "pgmcc", 1));
    fd = pgm_socket(0);
    EQUAL(get(fd), PGM_CC_PGMCC);
    OK(set(fd, PGM_CC_OFF));
    EQUAL(get(fd), PGM_CC_OFF);
}

static void transmit(void *arg)
{
    struct sockaddr_in a = group(0);
    int *go = arg, tos = ECN, fd;
    char message[SIZE];

    OK(setenv("PGM_CONGESTION_CONTROL", "pgmcc", 1));
    OK(setenv("PGM_FAULT_LOSS", "2%", 1));
    OK(setenv("PGM_FAULT_SEED", "6", 1));
    fd = pgm_socket(0);
    OK(setsockopt(fd, IPPROTO_IP, IP_TOS, &tos, sizeof(tos)));
    hear(go[0]);
    OK(connect(fd, SA(a), sizeof(a)));
    for (uint32_t i = 0; i < MESSAGES; i++) {
        fill(message, SIZE, i);
        EQUAL(send(fd, message, SIZE, 0), SIZE);
    }
}

/* Two percent of what arrives is lost, at the receiver and at the sender. */
static void receive(void *arg)
{
    char message[SIZE + 1];
    int *go = arg, rx, fd;

    OK(setenv("PGM_FAULT_LOSS", "2%", 1));
    OK(setenv("PGM_FAULT_SEED", "5", 1));
    rx = listener(0);
    tell(go[1]);
    fd = session(rx);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        EQUAL(recv(fd, message, sizeof(message), 0), SIZE);
        if (!matches(message, SIZE, i, 0))
            FAIL("message %u is another one", i);
    }
    EQUAL(recv(fd, message, sizeof(message), 0), 0);
}

/* Whether the options of a packet have OPT_PGMCC_DATA. */
static int is_controlled(const unsigned char *packet, size_t len)
{
    size_t at = 16 + 8 + 4; /* headers, OPT_LENGTH */

    if (len < at || (packet[5] & 1) == 0)
        return 0;
    while (at + 4 <= len && packet[at + 1] >= 4) {
        if ((packet[at] & 0x7f) == OPT_PGMCC_DATA)
            return 1;
        if (packet[at] & 0x80)
            return 0;
        at += packet[at + 1];
    }
    return 0;
}

/* What the kernel shows of the packets: PGM in UDP only. */
static void watch(int seen)
{
    unsigned char packet[2000], control[64];
    int odata = 0;

    while (ready(seen, POLLIN, 0) & POLLIN) {
        struct iovec part = {packet, sizeof(packet)};
        struct msghdr m = {0};
        struct cmsghdr *c;
        ssize_t n;

        m.msg_iov = &part, m.msg_iovlen = 1;
        m.msg_control = control, m.msg_controllen = sizeof(control);
        n = (ssize_t)OK(recvmsg(seen, &m, 0));
        if (n < 16 || packet[4] != ODATA)
            continue;
        odata++;
        CHECK(is_controlled(packet, (size_t)n));
        c = CMSG_FIRSTHDR(&m);
        CHECK(c != NULL && c->cmsg_type == IP_TOS);
        EQUAL(*CMSG_DATA(c) & ECN, 0);
    }
    CHECK(odata > 0);
}

static int watcher(void)
{
    struct sockaddr_in a = group(0), to = a;
    struct ip_mreq request = {a.sin_addr, {htonl(INADDR_LOOPBACK)}};
    const char *ports = getenv("PGM_UDP_ENCAP"), *multicast = ports ? strchr(ports, ':') : NULL;
    int fd = (int)OK(socket(AF_INET, SOCK_DGRAM, 0)), on = 1;

    to.sin_port = htons((uint16_t)(multicast ? atoi(multicast + 1) : 3056));
    OK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
    OK(setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &on, sizeof(on)));
    OK(bind(fd, SA(to), sizeof(to)));
    OK(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof(request)));
    return fd;
}

int main(void)
{
    int go[2], seen = -1;

    begin(105);
    pid_t set_get = child(30, values, NULL), inherited = child(30, from_environment, NULL);
    CHILD_PASSED(set_get);
    CHILD_PASSED(inherited);
    if (protocol() == IPPROTO_UDP)
        seen = watcher();
    OK(pipe(go));
    pid_t tx = child(100, transmit, go), rx = child(100, receive, go);
    CHILD_PASSED(rx);
    CHILD_PASSED(tx);
    if (seen >= 0)
        watch(seen);
    return 0;
}
