/* PGM_COUNTERS tells what came and was not taken, alike at all sockets of a carriage. */
#include "check.h"

enum { ODATA = 4, NCF = 10 };

static struct pgm_udp_encap ports;
static int attackers[2];

static struct pgm_counters counters(int fd)
{
    struct pgm_counters value;
    socklen_t len = sizeof(value);

    memset(&value, 0xee, sizeof(value));
    OK(getsockopt(fd, IPPROTO_PGM, PGM_COUNTERS, &value, &len));
    EQUAL(len, sizeof(value));
    return value;
}

/* A plain socket that sends to the group from another address of this host. */
static int attacker(const char *from)
{
    struct sockaddr_in own = address(from, 0);
    int fd = OK(protocol() == IPPROTO_PGM ? socket(AF_INET, SOCK_RAW, IPPROTO_PGM) : socket(AF_INET, SOCK_DGRAM, 0));

    OK(bind(fd, SA(own), sizeof(own)));
    OK(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &own.sin_addr, sizeof(own.sin_addr)));
    return fd;
}

/* A packet of a session, with `damage` added to its checksum. */
static void attack(int fd, int type, const struct pgm_tsi *tsi, int damage)
{
    struct sockaddr_in to = group(0);
    uint16_t words[20] = {htons(tsi->sport), to.sin_port, htons((uint16_t)(type << 8))};
    size_t length = type == NCF ? 36 : 24;
    uint32_t sum = 0;

    memcpy(words + 4, tsi->gsi, sizeof(tsi->gsi));
    if (type == NCF) {
        /* Of 127.0.0.1 to the group. */
        words[10] = words[14] = htons(1);
        words[12] = htons(0x7f00), words[13] = htons(1);
        memcpy(words + 16, &to.sin_addr, 4);
    }
    for (size_t i = 0; i < length / 2; i++)
        sum += words[i];
    sum = (sum & 0xffff) + (sum >> 16);
    words[3] = (uint16_t)(~(sum + (sum >> 16)) + damage);
    if (protocol() == IPPROTO_PGM)
        to.sin_port = 0;
    else
        to.sin_port = htons(ports.multicast);
    EQUAL(sendto(fd, words, length, 0, SA(to), sizeof(to)), length);
}

/* Wait until this member has grown by one, and no other that tells of an attack has moved. */
static void grows(int fd, struct pgm_counters before, size_t member)
{
    struct pgm_counters now;
    uint64_t value, old;

    memcpy(&old, (char *)&before + member, sizeof(old));
    do {
        sleep_ms(1);
        now = counters(fd);
        memcpy(&value, (char *)&now + member, sizeof(value));
    } while (value == old);
    EQUAL(value, old + 1);
    CHECK(now.packets_received > before.packets_received);
    memcpy((char *)&now + member, &old, sizeof(old));
    /* From the first reason to the last but the gauges; what else comes may be foreign, or late. */
    EQUAL(memcmp(&now.malformed_length, &before.malformed_length, offsetof(struct pgm_counters, foreign) - 8), 0);
    EQUAL(now.spoofed, before.spoofed);
}
#define GROWS(fd, before, member) grows(fd, before, offsetof(struct pgm_counters, member))

int main(void)
{
    struct pgm_tsi tsi, stranger = {{1, 2, 3, 4, 5, 6}, 7};
    struct pgm_counters before, after;
    socklen_t len = sizeof(before);

    begin(30);
    int fd = pgm_socket(0);
    FAILS(getsockopt(fd, IPPROTO_PGM, PGM_COUNTERS, &before, &len), ENOTCONN);
    len = sizeof(ports);
    OK(getsockopt(fd, IPPROTO_PGM, PGM_UDP_ENCAP, &ports, &len));
    attackers[0] = attacker("127.0.0.1");
    attackers[1] = attacker("127.0.0.9");

    int rx = listener(0);
    EQUAL(counters(rx).sources, 0);
    EQUAL(counters(rx).received_held, 0);
    EQUAL(counters(rx).sent_held, 0);
    before = counters(rx);
    attack(attackers[0], ODATA, &stranger, 1);
    GROWS(rx, before, malformed_checksum);
    before = counters(rx);
    attack(attackers[0], NCF, &stranger, 0);
    GROWS(rx, before, foreign);

    int tx = sender(0);
    send_text(tx, "hello");
    int session_fd = session(rx);
    EQUAL(counters(rx).sources, 1);
    CHECK(counters(tx).sent_held > 0);
    CHECK(counters(session_fd).received_held > 0);
    len = sizeof(tsi);
    OK(getsockopt(tx, IPPROTO_PGM, PGM_TSI, &tsi, &len));
    before = counters(session_fd);
    attack(attackers[1], ODATA, &tsi, 0);
    GROWS(session_fd, before, spoofed);
    EXPECT_TEXT(session_fd, "hello");

    /* The same at all of them. */
    before = counters(rx);
    after = counters(tx);
    EQUAL(after.spoofed, before.spoofed);
    EQUAL(after.malformed_checksum, before.malformed_checksum);
    CHECK(after.packets_received >= before.packets_received);

    /* The end of the sender is the session's, and then nothing of it is kept. */
    OK(close(tx));
    EQUAL(recv(session_fd, &after, sizeof(after), 0), 0);
    OK(close(session_fd));
    while (counters(rx).sources != 0)
        sleep_ms(1);
    return 0;
}
